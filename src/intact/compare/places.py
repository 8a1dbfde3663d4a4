"""What a path is good for: which places of a Linux tree control, load or trust what is put there, and which files are code.

Paths in, claims out; pure. The lists follow hier(7), ld.so(8), cron(8), sshd(8), pam.d(5), and the autoload places of the interpreters that
stock images carry. A path is judged as the image's tree shows it, so `/bin` and `/usr/bin` are both named.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, wraps

from intact.model.entry import Entry, Kind

CODE_EXTENSIONS = frozenset(
    b"so dll ko py pyc pyo pyd pth egg whl php php3 php4 php5 php7 php8 phtml phar inc js mjs cjs jsx tsx node wasm class jar war ear"
    b" jsp jspx jspf jsw jsv asp aspx ashx ascx asmx cshtml cfm cfc cgi fcgi pl plx pm psgi rb rbw rake gemspec erb gem sh bash zsh ksh csh"
    b" fish lua luac tcl awk ps1 exe elf beam erl ex exs ez groovy kts scala clj coffee jl pyw pyz pht phpt module hpi jpi nse sieve"
    b" htaccess pmc kar r".split()
)
"""Extensions of files that a machine or an interpreter runs, or that decide what it runs. Perl takes `X.pmc` before `X.pm`."""
SERVED_EXTENSIONS = CODE_EXTENSIONS | frozenset(
    b"html htm xhtml shtml svg tpl twig ejs pug hbs mustache j2 jinja jinja2 ftl vm haml slim liquid njk xsl xslt"
    b" ep eex heex leex ftlh ftlx gsp jte kte latte mako handlebars jade tmpl gohtml tt tt2 volt ctp peb jbuilder zul".split()
)
"""Also what a browser runs, and templates, which an engine does. A directory with such files in the image is one that something serves or
runs from."""
PAGE_EXTENSIONS = frozenset(
    b"php php3 php4 php5 php7 php8 phtml phar pht inc jsp jspx jspf jsw jsv asp aspx ashx ascx asmx cshtml cfm cfc cgi fcgi pl psgi shtml"
    b" htaccess".split()
)
"""Extensions of what a web server runs wherever it lies below its root, or obeys there."""
ASSET_EXTENSIONS = frozenset(b"css scss less map woff woff2 ttf otf eot png jpg jpeg gif webp avif ico bmp".split())
"""Extensions of what a site ships beside its pages: styles, fonts, pictures."""
KINDRED_EXTENSIONS = frozenset(b"ts mts cts sql conf".split())
"""Extensions that are code, or configuration that is loaded, where the image has files of the same extension; else they are data."""
CODE_NAMES = frozenset(
    b".user.ini web.config package.json pyvenv.cfg config.ru Rakefile Makefile Gemfile Jenkinsfile .babelrc"
    b" .mocharc.js .pythonstartup Procfile Guardfile Thorfile nodemon.json"
    b" deno.json deno.jsonc tsconfig.json uwsgi.ini supervisord.conf jndi.properties hibernate.properties .hotspotrc .hotspot_compiler"
    b" .envrc matplotlibrc sqlnet.ora odbc.ini odbcinst.ini ecosystem.config.json babel.config.json Caddyfile"
    b" appsettings.json loader.properties quartz.properties commons-logging.properties simplelogger.properties ehcache.xml".split()
)
"""Names of files that decide what is loaded by what stands beside them: user.ini(PHP), a package's main module, Spring's sources of
configuration."""
_CODE_NAME = re.compile(
    rb"\.env(?:\.[^/]*)?|\.flaskenv|(?:application|bootstrap)(?:-[^/]*)?\.(?:properties|xml|ya?ml)|hazelcast[^/]*\.(?:xml|ya?ml)"
    rb"|appsettings\.[^/]+\.json|[^/]*\.(?:runtimeconfig(?:\.dev)?|deps)\.json|[^/]*\.(?:dll|exe)\.config|classes[^/]*\.jsa"
    rb"|php\.ini|bunfig\.toml|\.yarnrc\.yml|log4j2?[^/]*\.(?:xml|properties|ya?ml|jso?n)|logback[^/]*\.(?:xml|groovy)"
    rb"|[^/]*\.(?i:php[3-8]?|phtml|phar|pht|cgi|jsp|aspx?)\.[^/]*",
    re.DOTALL,
)
"""More of them, by pattern: what dotenv, Spring (its default profile too, and as XML), .NET, PHP as CGI, Bun, Yarn and Java's loggers read
beside a program; the classes that a Java virtual machine takes before its own (`-Xshare:auto`); and `shell.PHP.jpg`, which a web server
may run for its inner extension, in whatever letters (mod_mime)."""
_DESCRIPTOR = re.compile(rb".*/(?:webapps|deployments|deploy|dropins)/[^/]*\.(?:xml|cfg)", re.DOTALL)
"""What a server deploys as it does an archive: Jetty makes the objects that such a file names."""
_BARE_MODULE = re.compile(rb".*/node_modules/(?:@[^/]+/)?[^/.@][^/]*", re.DOTALL)
"""A file that is a module by itself: Node takes it as JavaScript, whatever it is called."""

_CREDENTIALS = re.compile(
    rb"""/etc/(?:(?:passwd|shadow|group|gshadow|subuid|subgid)-?|sudoers(?:\.d/.*)?|doas\.conf|ssh/.*|pam\.d/.*|pam\.conf|security/.*
          |ssl/.*|pki/.*|ca-certificates.*|krb5\.(?:conf|keytab)|nsswitch\.conf|hosts\.(?:equiv|allow|deny)|polkit-1/.*
          |mosquitto/(?:passwd|pwfile|acl)[^/]*|redis/users\.acl|postgresql/(?:.*/)?pg_(?:hba|ident)\.conf|rsyncd\.secrets|ipsec\.secrets)
    |.*/conf/tomcat-users\.xml
    |.*/\.(?:ssh|gnupg|aws|kube|docker|postgresql)/.*
    |/var/(?:lib/misc|db)/(?:passwd|shadow|group|gshadow)\.db
    |.*/(?:authorized_keys2?|\.rhosts|\.netrc|\.pgpass|\.my\.cnf|\.htpasswd|\.shosts|\.k5login|\.k5users)
    |/var/lib/(?:extrausers|polkit-1)/.*
    |/usr/(?:local/)?share/ca-certificates/.*
    |/usr/local/ssl/.*
    |/usr/(?:local/)?lib/ssl/.*
    |/(?:etc|run|run/host|usr/lib|run/systemd)/userdb/.*
    |.*/(?:lib/security/cacerts|certifi/cacert\.pem)""",
    re.DOTALL | re.VERBOSE,
)
ACCOUNT_SOCKETS = frozenset({b"/run/nscd/socket", b"/var/run/nscd/socket"})
"""Where the libraries of C (glibc, musl) ask for accounts first."""
_AUTOSTART = re.compile(
    rb"""/etc/(?:cron[^/]*(?:/.*)?|anacrontab|at\.(?:allow|deny)|ld\.so\.(?:preload|conf|conf\.d/.*|cache)|ld-musl-[^/]*\.path|profile(?:\.d/.*)?
          |bash\.bashrc|bashrc|zsh/.*|environment|inittab|rc[^/]*(?:/.*)?|init\.d/.*|init/.*|systemd/.*|modprobe\.d/.*|modules-load\.d/.*
          |logrotate\.(?:conf|d/.*)|dpkg/dpkg\.cfg.*|gitconfig|bash_completion(?:\.d/.*)?|dhcp/.*hooks.*|network/if-[^/]*\.d/.*
          |NetworkManager/dispatcher\.d/.*|ppp/ip[^/]*|X11/Xsession(?:\.d/.*)?|csh\.(?:cshrc|login|logout)|fish/.*|mailcap|vim/.*|emacs/.*
          |screenrc|tmux\.conf|inputrc|nanorc|wgetrc|incron\.d/.*|binfmt\.d/.*|kernel/.*|monit/.*|runit/.*|sv/.*|service/.*|perl/.*|default/.*
          |z(?:shenv|shrc|profile|login)|ksh\.kshrc|mkshrc|npmrc|pip\.conf
          |udev/.*|apt/apt\.conf(?:\.d/.*)?|php.*/conf\.d/.*|update-motd\.d/.*|xdg/autostart/.*|supervisor/.*|s6.*|services\.d/.*|cont-init\.d/.*)
    |/var/spool/(?:cron|at|incron)/.*
    |/run/(?:systemd/(?:system|user)|user/[^/]+/systemd/user|udev/rules\.d)/.*
    |/usr/(?:local/)?share/(?:vim|nvim|emacs|dbus-1|polkit-1|gdb/auto-load|bash-completion|git-core/templates|p11-kit|zsh|fish
        |initramfs-tools|systemd|pam-configs|postgresql/(?:[^/]+/)?extension)/.*
    |(?:/usr)?/(?:local/)?lib/systemd/.*
    |.*/(?:sitecustomize|usercustomize)\.py
    |.*/(?:site|dist)-packages/[^/]*\.(?:pth|egg-link)
    |.*\.(?:dist|egg)-info/entry_points\.txt
    |.*/start\.d/[^/]*\.ini
    |.*/mysqld-auto\.cnf
    |.*\.git/hooks/(?![^/]*\.sample$)[^/]*
    |(?>.*?\.git/modules/).*/hooks/(?![^/]*\.sample$)[^/]*
    |.*/init\.groovy
    |.*/\.z(?:shrc|shenv|profile|login|logout)\.zwc
    |.*/\.[a-zA-Z0-9_-]*rc(?:\.(?:py|js|cjs|mjs|json|ya?ml|toml|rb|lua|sh|local))?
    |.*/\.[a-zA-Z0-9_-]*rc\.d/.*
    |.*/conf/Catalina/[^/]+/[^/]*\.xml
    |(?>.*?/php[^/]*/)(?:.*/)?conf\.d/.*
    |.*/\.(?:bashrc|bash_profile|bash_login|bash_logout|bash_aliases|profile|zshrc|zshenv|zprofile|zlogin|inputrc|vimrc|exrc|nanorc|emacs
        |gitconfig|npmrc|yarnrc|gemrc|irbrc|pryrc|psqlrc|gdbinit|curlrc|wgetrc|forward|procmailrc|screenrc|tmux\.conf|pip/pip\.conf
        |config/(?:autostart/.*|pip/pip\.conf|git/.*|fish/.*|nvim/.*|zsh/.*|systemd/.*|environment\.d/.*|containers/.*)
        |vim/(?:vimrc|(?:after/)?(?:plugin|ftplugin|ftdetect|autoload|indent|syntax|colors|compiler|pack)/.*)|gvimrc|emacs\.d/(?:early-)?init\.elc?
        |cshrc|tcshrc|kshrc|mkshrc|login|logout|zlogout|xinitrc|xsession|xsessionrc|xprofile|pam_environment
        |pythonrc(?:\.py)?|ipython/profile_[^/]+/(?:startup/.*|[^/]*config\.py)|jupyter/[^/]*config\.(?:py|json)|pydistutils\.cfg|condarc
        |erlang|iex\.exs|Rprofile|Renviron|julia/config/.*|tclshrc|guile|ghci|mongorc\.js|mongoshrc\.js|sqliterc|lldbinit|perldb|hgrc|mailcap
        |bundle/config|cargo/config(?:\.toml)?|gradle/(?:init\.d/.*|init\.gradle(?:\.kts)?|gradle\.properties)|m2/settings(?:-security)?\.xml
        |mavenrc|ansible\.cfg|pg_service\.conf|odbc\.ini|mylogin\.cnf
        |bash_completion|selected_editor|lesskey|devscripts|rpmmacros|dpkg\.cfg|ocamlinit|dovecot\.sieve|qmail(?:-[^/]*)?|mailfilter
        |tmux/.*|config/(?:tmux|lesskey|starship\.toml|psysh|nushell|powershell|direnv|mpv|ranger|helix|emacs|matplotlib/matplotlibrc
            |xonsh|irb|pry|gdb|mutt|neomutt|aerc|go/env|lazygit|lf|vifm|wp-cli)(?:/.*)?
        |local/share/(?:systemd/user|dbus-1|bash-completion|fish/vendor_[^/]*|nvim/site|zsh|helm/plugins)/.*
        |oh-my-zsh/(?!cache/).*|ansible/(?:plugins|collections|roles)/.*|wp-cli/(?:config\.yml|packages/.*)|bundle/plugin/.*
        |lein/(?:profiles|init)\.clj|subversion/config|matplotlib/matplotlibrc|sqlnet\.ora|less|termcap|terminfo/.*
        |config/(?:(?:vim|sqlite3|nano|uv|pypoetry)/.*|pnpm/rc|composer/(?:composer|config)\.json|mc/(?:mc\.ext|menu)[^/]*)
        |composer/(?:composer|config)\.json)
    |/(?:docker-)?entrypoint(?:\.d/.*|-[^/]*\.d/.*|\.sh)
    |/(?:custom-)?(?:cont-init|services)\.d/.*
    |/(?:init|usr/local/etc/(?:rc\.d|cont-init\.d)/.*)""",
    re.DOTALL | re.VERBOSE,
)
_VOLATILE = rb"/(?:tmp|run|dev|proc|sys|var/(?:tmp|run|log|cache|spool))/"
_CONFIGURATION = re.compile(
    rb"/(?:etc|usr/etc|usr/local/etc|opt/(?:[^/]+/)*(?:etc|conf))/.*|.*/(?:conf|sites|mods|modules)(?:\.d|-enabled)/.*"
    rb"|(?!" + _VOLATILE + rb").*/(?!\.)[^/]+\.d/.*",
    re.DOTALL,
)
"""A directory that is called `something.d` holds what `something` reads (hier(7) has the pattern in each of its places)."""
_CONFIGURED = re.compile(
    rb"(?!" + _VOLATILE + rb").*/(?:conf|config|configs|configuration|etc|pipeline|provisioning|settings|environments)(?:/.*)?", re.DOTALL
)
_STATIC = re.compile(
    rb"/usr/(?:share|include|local/(?:share|include))/(?!(?:.*/)?\.|[^/]+/html/).*(?<!\.pid)(?<!\.log)(?<!\.lock)", re.DOTALL
)
_DEPLOYED = re.compile(
    rb"(?!" + _VOLATILE + rb").*/(?:webapps|deployments|(?<!/home/)deploy|autodeploy|dropins|plugins|extensions|(?:extra-)?addons|add-ons"
    rb"|providers|cgi-bin|keycloak/themes|dags)/.*",
    re.DOTALL,
)
_SYSTEM = re.compile(
    rb"/(?:bin|sbin|lib[^/]*|etc/alternatives|usr/(?:bin|sbin|lib[^/]*|libexec|games)|usr/local/(?:bin|sbin|lib[^/]*|libexec|games)|opt/[^/]+/s?bin"
    rb"|(?:root|home/[^/]+)/(?:\.local/)?bin)/.*",
    re.DOTALL,
)
_LOADED = re.compile(
    rb"""/usr/local/share/.*
    |/usr/share/(?:perl[0-9]*|php[^/]*|nodejs|node_modules|ruby[^/]*|rubygems[^/]*|java|lua|python[^/]*|tcltk|guile|R)/.*
    |.*/(?:site|dist)-packages/.*
    |.*/node_modules/(?!\.cache/).*
    |.*/\.(?:node_modules|node_libraries|gem/ruby|local/share/gem/ruby)/.*
    |/var/lib/gems/.*
    |/usr/local/bundle/.*
    |(?!/(?:tmp|run|dev|var/tmp)/).*/(?:s?bin|shims)/[^/]*""",
    re.DOTALL | re.VERBOSE,
)
_SCRATCH = (b"/tmp/", b"/run/", b"/dev/", b"/var/tmp/")
_LIBRARY = re.compile(rb".*\.so(?:\.[0-9.]+)?", re.DOTALL)
_LOG = re.compile(rb"/var/log/.*|(?>.*?/logs?/)(?:.*/)?[^/]*\.log(?:[.-][^/]*)?|(?:/var)?/run/utmp", re.DOTALL)
_UNFINISHED = re.compile(rb"(.*\.pyc)\.[0-9]+", re.DOTALL)
_CACHED_BYTECODE = re.compile(rb"(.*)/__pycache__/([^/]+)\.[a-z]+-[0-9a-z]+(?:\.opt-[12])?\.pyc", re.DOTALL)


_REMEMBERED = 4096
_REMEMBERED_BYTES = 256


def _remember(claim: Callable[[bytes], bool]) -> Callable[[bytes], bool]:
    """`claim` with its last answers: services write the same files again and again. Not those about long paths, which cost memory."""
    remembered = lru_cache(maxsize=_REMEMBERED)(claim)

    @wraps(claim)
    def answer(path: bytes) -> bool:
        return remembered(path) if len(path) <= _REMEMBERED_BYTES else claim(path)

    return answer


@_remember
def is_credential(path: bytes) -> bool:
    """Whether accounts, keys or trust are kept at `path`."""
    return _CREDENTIALS.fullmatch(path) is not None


@_remember
def is_autostart(path: bytes) -> bool:
    """Whether what stands at `path` is run, loaded or obeyed without anybody calling it."""
    return _AUTOSTART.fullmatch(path) is not None


@_remember
def is_configuration(path: bytes) -> bool:
    """Whether what stands at `path` is read as configuration of the system or of a service."""
    return _CONFIGURATION.fullmatch(path) is not None


@_remember
def is_system_place(path: bytes) -> bool:
    """Whether programs and libraries of the system are found at `path`."""
    return _SYSTEM.fullmatch(path) is not None


@_remember
def is_loaded_place(path: bytes) -> bool:
    """Whether interpreters look there for code by themselves, whoever put it there: user site directories and the like."""
    return _LOADED.fullmatch(path) is not None


@_remember
def is_deployed_place(path: bytes) -> bool:
    """Whether a server runs what is put there, though the image's own directory may be empty."""
    return _DEPLOYED.fullmatch(path) is not None


def is_static_place(path: bytes) -> bool:
    """Whether `path` is where programs find what came with them, and services write nothing (hier(7)): `/usr/share`, headers. Not what
    looks like state, and no page of a web server."""
    return _STATIC.fullmatch(path) is not None


def is_configured_directory(directory: bytes) -> bool:
    """Whether `directory` is called as those are that hold configuration, or is below one."""
    return _CONFIGURED.fullmatch(directory) is not None


def is_leading_link(path: bytes) -> bool:
    """Whether a link at `path` would put what lies elsewhere where something is obeyed: for all of a directory such as `.config`."""
    name = path[path.rfind(b"/") + 1 :]
    if name.startswith(b".") and not name.startswith(b".#") and not path.startswith(_SCRATCH):
        return True
    inside = path + b"/x"
    return any(is_obeyed(inside) for is_obeyed in (is_credential, is_autostart, is_system_place, is_loaded_place, is_deployed_place))


@_remember
def is_log(path: bytes) -> bool:
    """Whether a log is kept at `path`; what is called code is none, wherever it lies."""
    return _LOG.fullmatch(path) is not None and not is_served_name(path)


def extension(path: bytes) -> bytes:
    """Without its dot, in small letters; empty where there is none. A line end after it changes nothing: the `$` of a server's pattern
    stands before it, too (pcre2pattern(3))."""
    name = path[path.rfind(b"/") + 1 :].rstrip()
    return name[name.rfind(b".") + 1 :].lower() if b"." in name else b""


@_remember
def is_code_name(path: bytes) -> bool:
    """Whether `path` is called as what a machine or an interpreter runs, or what decides what it runs."""
    return _is_called(path, CODE_EXTENSIONS)


@_remember
def is_page_name(path: bytes) -> bool:
    """Whether `path` is called as what a web server runs or obeys anywhere below its root."""
    return extension(path) in PAGE_EXTENSIONS or path.endswith(b"/.user.ini")


@_remember
def is_served_name(path: bytes) -> bool:
    """Whether `path` is called as code, or as what a browser or an engine of templates runs."""
    return _is_called(path, SERVED_EXTENSIONS)


def _is_called(path: bytes, extensions: frozenset[bytes]) -> bool:
    name = path[path.rfind(b"/") + 1 :]
    if len(name) > 255:
        return False
    return name in CODE_NAMES or _CODE_NAME.fullmatch(name) is not None or extension(name) in extensions or _is_descriptor(path)


def _is_descriptor(path: bytes) -> bool:
    """Whether `path` decides which classes of a Java application run."""
    if path.endswith((b".xml", b".cfg")) and _DESCRIPTOR.fullmatch(path) is not None:
        return True
    if b"/WEB-INF/" not in path and b"/META-INF/" not in path:
        return False
    return extension(path) in (b"xml", b"tld", b"properties") or b"/META-INF/services/" in path


def is_bare_module(path: bytes) -> bool:
    """Whether a file at `path` is taken for a module of Node by its place alone."""
    return b"/node_modules/" in path and _BARE_MODULE.fullmatch(path) is not None


def is_code_like(entry: Entry) -> bool:
    """Whether `entry` is, by its name or an execute bit, something that is run; a link is judged by its own name."""
    if entry.kind is Kind.SYMLINK:
        return is_code_name(entry.path)
    if entry.kind is not Kind.FILE:
        return False
    return is_code_name(entry.path) or is_library(entry.path) or (bool(entry.mode & 0o111) and entry.size_bytes > 0)


@_remember
def is_library(path: bytes) -> bool:
    return _LIBRARY.fullmatch(path) is not None


def cached_source(path: bytes) -> bytes | None:
    """The source file of a Python bytecode cache (PEP 3147), by name."""
    found = _CACHED_BYTECODE.fullmatch(path)
    return found[1] + b"/" + found[2] + b".py" if found else None


def finished_cache(path: bytes) -> bytes | None:
    """The bytecode cache that an interpreter is writing under another name (importlib, _write_atomic); it loads nothing of that name."""
    found = _UNFINISHED.fullmatch(path)
    return found[1] if found else None


def grants_privilege(entry: Entry | None) -> bool:
    """Whether `entry` is a regular file that runs with other rights than its caller's: set-user-ID, set-group-ID, capabilities(7)."""
    return entry is not None and entry.kind is Kind.FILE and (bool(entry.mode & 0o6000) or has_capabilities(entry))


def has_capabilities(entry: Entry) -> bool:
    return any(name == b"security.capability" for name, _ in entry.xattrs)
