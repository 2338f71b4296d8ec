/* unload.c - in sanitizer builds nothing is unloaded: a leak report knows whose memory it is.
 *
 * Open MPI closes its components at the end; what they leak would come from "unknown module", which
 * no suppression matches (spec/support/leaks.txt). */
#include <dlfcn.h>

#if defined(__SANITIZE_ADDRESS__)
__attribute__((visibility("default"))) int dlclose(void *library)
{
    (void)library;
    return 0;
}
#endif
