/* main.c - mosaic-lua: LuaJIT with Mosaic's Lua sources found beside it.
 *
 * This file makes the Lua state and hands the command line to lua/mosaic/host/main.lua, which
 * returns the exit status. */
#include <limits.h>
#include <lualib.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "host/host.h"

enum { EXIT_ERROR = 1 };

static char program[PATH_MAX], folder[PATH_MAX], sources[PATH_MAX];

/* A rank must not outlive the daemon that started it, even when that is killed outright. */
static void die_with_launcher(void)
{
    if (getenv("OMPI_COMM_WORLD_RANK")) prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static int find_program(void)
{
    ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    if (length <= 0) return 0;
    program[length] = '\0';
    memcpy(folder, program, (size_t)length + 1);
    *strrchr(folder, '/') = '\0';
    return 1;
}

/* Installed: PREFIX/bin and PREFIX/share/lua/5.1. In a checkout: build or build/NAME, and lua. */
static int find_sources(void)
{
    static const char *const places[] = {"../share/lua/5.1", "../lua", "../../lua"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        char place[2 * PATH_MAX], file[3 * PATH_MAX];
        snprintf(place, sizeof place, "%s/%s", folder, places[i]);
        snprintf(file, sizeof file, "%s/mosaic/host/main.lua", place);
        if (!access(file, R_OK) && realpath(place, sources)) return 1;
    }
    return 0;
}

/* A library beside the program was built with it. */
static void prefer_own_library(void)
{
    char library[PATH_MAX + 32];
    snprintf(library, sizeof library, "%s/libmosaic.so", folder);
    if (!access(library, R_OK)) setenv("MOSAIC_LIB", library, 0);
}

/* A bundle may have Open MPI beside it (`make bundle MPI=1`), which then is what it uses. */
static void prefer_own_mpi(void)
{
    char prefix[PATH_MAX + 32], mpirun[PATH_MAX + 64];
    snprintf(prefix, sizeof prefix, "%s/../lib/openmpi", folder);
    snprintf(mpirun, sizeof mpirun, "%s/bin/mpirun", prefix);
    if (access(mpirun, X_OK)) return;
    setenv("OPAL_PREFIX", prefix, 1);
    setenv("PMIX_MCA_pcompress_base_silence_warning", "1", 1); /* it looks for a plug-in in /usr */
    setenv("MOSAIC_MPIRUN", mpirun, 0);
}

/* Puts "VALUE;" in front of package.NAME. */
static void prefer(lua_State *L, const char *name, const char *value)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, name);
    lua_pushfstring(L, "%s;%s", value, lua_tostring(L, -1));
    lua_setfield(L, -3, name);
    lua_pop(L, 2);
}

/* Modules: our sources and, installed, PREFIX/lib/lua/5.1. */
static void set_paths(lua_State *L)
{
    const char *path = lua_pushfstring(L, "%s/?.lua;%s/?/init.lua", sources, sources);
    const char *native = lua_pushfstring(L, "%s/../lib/lua/5.1/?.so", folder);
    prefer(L, "path", path);
    prefer(L, "cpath", native);
    lua_pop(L, 2);
}

/* host = { program, version, spawn, readline, ... } */
static void push_host(lua_State *L)
{
    lua_newtable(L);
    lua_pushstring(L, program);
    lua_setfield(L, -2, "program");
    lua_pushstring(L, MOSAIC_VERSION);
    lua_setfield(L, -2, "version");
    mosaic_host_process(L);
    mosaic_host_interrupt(L);
    mosaic_host_editor(L);
}

static void push_arguments(lua_State *L, int argc, char **argv)
{
    lua_createtable(L, argc, 1);
    for (int i = 0; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i);
    }
}

static int traceback(lua_State *L)
{
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

/* main.lua(host, arguments) -> exit status */
static int run(lua_State *L, int argc, char **argv)
{
    char file[sizeof sources + 32];
    snprintf(file, sizeof file, "%s/mosaic/host/main.lua", sources);
    luaL_openlibs(L);
    set_paths(L);
    lua_pushcfunction(L, traceback);
    int failed = luaL_loadfilex(L, file, "t");
    if (!failed) {
        push_host(L);
        push_arguments(L, argc, argv);
        failed = lua_pcall(L, 2, 1, 1);
    }
    if (failed) fprintf(stderr, "mosaic-lua: %s\n", lua_tostring(L, -1));
    return failed ? EXIT_ERROR : (int)lua_tointeger(L, -1);
}

int main(int argc, char **argv)
{
    die_with_launcher();
    if (!find_program() || !find_sources()) {
        fprintf(stderr, "mosaic-lua: cannot find mosaic/host/main.lua near %s\n", program);
        return EXIT_ERROR;
    }
    prefer_own_library();
    prefer_own_mpi();
    lua_State *L = luaL_newstate();
    if (!L) {
        fprintf(stderr, "mosaic-lua: no memory for a Lua state\n");
        return EXIT_ERROR;
    }
    int status = run(L, argc, argv);
    lua_close(L);
    return status;
}
