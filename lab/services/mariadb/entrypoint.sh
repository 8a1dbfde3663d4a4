#!/bin/sh
# As root: gives the directories to the server's user. Then makes the data directory, if there is none, with its accounts.
set -eu
if [ "$(id -u)" = 0 ]; then
  find /var/lib/mysql /run/mysqld ! -user mysql -exec chown mysql: '{}' +
  exec setpriv --reuid=mysql --regid=mysql --init-groups -- "$0" "$@"
fi
if [ ! -d /var/lib/mysql/mysql ]; then
  mariadb-install-db --skip-test-db --auth-root-authentication-method=normal >/dev/null
  mariadbd --skip-networking --socket=/run/mysqld/init.sock &
  server=$!
  until mariadb -u root --socket=/run/mysqld/init.sock -e 'SELECT 1' >/dev/null 2>&1; do sleep 0.2; done
  mariadb -u root --socket=/run/mysqld/init.sock -e "CREATE DATABASE shop; CREATE TABLE shop.sale (id int AUTO_INCREMENT PRIMARY KEY, what text)"
  kill "$server"
  wait "$server" || true
fi
exec "$@"
