/* What an attacker's program does that leaves no trace in the writable layer, and what a harmless one does that looks alike. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

int main(int count, char **words)
{
    const char *trick = count > 1 ? words[1] : "";
    if (!strcmp(trick, "run-in-memory")) {
        char *arguments[] = {"[kworker/0:1]", "600", NULL}, *environment[] = {NULL};
        fexecve(in_memory("x", "/bin/pauser"), arguments, environment);
        exit(4);
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
    } else if (!strcmp(trick, "lock-in")) { /* as services do that give up what they do not need */
        if (chdir("/srv/empty") || chroot("."))
            exit(6);
    }
    for (;;)
        pause();
}
