/* interrupt.c - Ctrl-C becomes a Lua error at the next call, return or instruction.
 *
 * Compiled loops do not look at hooks; a second Ctrl-C then ends the process as usual. */
#include <signal.h>

#include "host.h"

static lua_State *state;
static volatile sig_atomic_t fired;
static struct sigaction before;

static void raise_error(lua_State *L, lua_Debug *record)
{
    (void)record;
    lua_sethook(L, NULL, 0, 0);
    luaL_error(L, "interrupted");
}

static void on_interrupt(int number)
{
    fired = 1;
    signal(number, SIG_DFL);
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
