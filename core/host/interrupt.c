/* interrupt.c - Ctrl-C becomes a Lua error at the next call, return or instruction.
 *
 * Compiled loops do not look at hooks, nor do long calls of C; a second Ctrl-C then ends the
 * process as usual, and half a second after the first a line says so. */
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include "host.h"

static lua_State *state;
static volatile sig_atomic_t fired;
static struct sigaction before;

/* Says so later, or (0) no more. */
static void hint_after(int microseconds)
{
    struct itimerval later = {.it_value = {.tv_usec = microseconds}};
    setitimer(ITIMER_REAL, &later, NULL);
}

static void on_hint(int number)
{
    static const char text[] = "mosaic-lua: still at work, Ctrl-C again ends mosaic-lua at once\n";
    (void)number;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) return;
}

static void raise_error(lua_State *L, lua_Debug *record)
{
    (void)record;
    hint_after(0);
    lua_sethook(L, NULL, 0, 0);
    luaL_error(L, "interrupted");
}

static void on_interrupt(int number)
{
    fired = 1;
    signal(number, SIG_DFL);
    signal(SIGALRM, on_hint);
    hint_after(500000);
    lua_sethook(state, raise_error, LUA_MASKCALL | LUA_MASKRET | LUA_MASKCOUNT, 1);
}

/* catch_interrupt(on): from here on Ctrl-C is an error in the running Lua code, or as before.
 * Returns whether it was pressed since the last call. */
static int catch_interrupt(lua_State *L)
{
    if (lua_toboolean(L, 1)) {
        struct sigaction action = {.sa_handler = on_interrupt};
        state = L;
        sigaction(SIGINT, &action, &before);
    } else if (state) {
        sigaction(SIGINT, &before, NULL);
        if (fired) hint_after(0);
        lua_sethook(L, NULL, 0, 0);
        state = NULL;
    }
    lua_pushboolean(L, fired);
    fired = 0;
    return 1;
}

void mosaic_host_interrupt(lua_State *L)
{
    lua_pushcfunction(L, catch_interrupt);
    lua_setfield(L, -2, "catch_interrupt");
}
