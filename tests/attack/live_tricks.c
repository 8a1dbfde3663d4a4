/* What an attacker's program does that leaves no trace in the writable layer, and what a harmless one does that looks alike. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int in_memory(const char *name, const char *source)
{
    int from = open(source, O_RDONLY), to = memfd_create(name, 0);
    char block[65536];
    ssize_t size;
    while ((size = read(from, block, sizeof block)) > 0)
        if (write(to, block, size) != size)
            exit(2);
    return to;
}

static void map_to_execute(int file, int shared)
{
    if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, shared ? MAP_SHARED : MAP_PRIVATE, file, 0) == MAP_FAILED)
        exit(3);
}

static void *go_on(void *unused)
{
    for (;;)
        pause();
}

static void *mount_alone(void *unused)
{
    if (unshare(CLONE_FS | CLONE_NEWNS) || mount("evil", "/srv", "tmpfs", 0, ""))
        exit(8);
    return go_on(unused);
}

int main(int count, char **words)
{
    const char *trick = count > 1 ? words[1] : "";
    if (!strcmp(trick, "run-in-memory")) {
        char *arguments[] = {"[kworker/0:1]", "600", NULL}, *environment[] = {NULL};
        fexecve(in_memory("x", "/bin/pauser"), arguments, environment);
        exit(4);
    }
    if (!strcmp(trick, "run-from-nowhere")) { /* a tmpfs of which only a descriptor is known */
        int system = syscall(SYS_fsopen, "tmpfs", 0);
        syscall(SYS_fsconfig, system, 6, NULL, NULL, 0);
        int root = syscall(SYS_fsmount, system, 0, 0), from = open("/bin/pauser", O_RDONLY);
        int to = openat(root, "nowhere", O_RDWR | O_CREAT, 0755);
        char *arguments[] = {"x", "600", NULL};
        if (to < 0 || sendfile(to, from, NULL, 1 << 30) <= 0)
            exit(9);
        close(to);
        syscall(SYS_execveat, root, "nowhere", arguments, environ, 0);
        exit(10);
    }
    if (!strcmp(trick, "run-too-deep")) { /* where no path is that the kernel would write */
        int from = open("/bin/pauser", O_RDONLY), to;
        char name[251], *arguments[] = {"x", "600", NULL};
        memset(name, 'd', 250), name[250] = 0;
        if (chdir(words[2]))
            exit(13);
        for (int n = 0; n < 20; n++)
            if (mkdir(name, 0755) || chdir(name))
                exit(13);
        to = open("deep", O_RDWR | O_CREAT, 0755);
        if (to < 0 || sendfile(to, from, NULL, 1 << 30) <= 0)
            exit(13);
        close(to);
        execve("deep", arguments, environ);
        exit(14);
    }
    if (!strcmp(trick, "run-by-descriptor")) { /* no name leads to it any more */
        int file = open(words[2], O_PATH);
        char *arguments[] = {"x", "600", NULL};
        unlink(words[2]);
        syscall(SYS_execveat, file, "", arguments, environ, AT_EMPTY_PATH);
        exit(12);
    }
    if (!strcmp(trick, "run-in-memory-without-head")) {
        char *arguments[] = {"x", "without-head", NULL}, *environment[] = {NULL};
        fexecve(in_memory("x", "/bin/pauser"), arguments, environment);
        exit(4);
    }
    if (!strcmp(trick, "without-head")) { /* the first thread ends, and with it what /proc/PID shows */
        pthread_t other;
        if (pthread_create(&other, NULL, go_on, NULL))
            exit(7);
        pthread_exit(NULL);
    }
    if (!strcmp(trick, "mount-in-a-thread")) {
        pthread_t other;
        for (int n = 0; n < 200; n++)
            pthread_create(&other, NULL, go_on, NULL);
        pthread_create(&other, NULL, mount_alone, NULL);
        for (int n = 0; n < 200; n++)
            pthread_create(&other, NULL, go_on, NULL);
    }
    if (!strcmp(trick, "map-in-memory")) {
        map_to_execute(in_memory("lib", "/bin/pauser"), 0);
    } else if (!strcmp(trick, "map-deleted")) {
        int file = open("/tmp/lib.so", O_RDONLY);
        map_to_execute(file, 0);
        unlink("/tmp/lib.so");
        close(file);
    } else if (!strcmp(trick, "compile")) { /* as just-in-time compilers do */
        int code = memfd_create("vmem", 0);
        if (write(code, "\xb4\0\0\0", 4) != 4 || ftruncate(code, 4096))
            exit(5);
        map_to_execute(code, 1);
        map_to_execute(open("/dev/zero", O_RDWR), 1);
    } else if (!strcmp(trick, "compile-in-a-file")) { /* as libffi does where memory may not be both written and executed */
        int code = open("/tmp/ffi", O_RDWR | O_CREAT | O_EXCL, 0700);
        unlink("/tmp/ffi");
        if (write(code, "\xb4\0\0\0", 4) != 4 || ftruncate(code, 4096))
            exit(5);
        map_to_execute(code, 1);
    } else if (!strcmp(trick, "map-late")) {
        int file = open("/var/late", O_RDONLY);
        void *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
        if (code == MAP_FAILED || mprotect(code, 4096, PROT_READ | PROT_EXEC))
            exit(11);
        unlink("/var/late");
    } else if (!strcmp(trick, "lock-in")) { /* as services do that give up what they do not need */
        if (chdir("/srv/empty") || chroot("."))
            exit(6);
    }
    for (;;)
        pause();
}
