/* process.c - one supervised child process whose stderr passes through us.
 *
 * The launcher is the "subreaper" of everything below it: whatever a dying mpirun leaves behind
 * becomes our child, and reap() ends it. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host.h"

enum { EXIT_NOT_STARTED = 127, MAX_WORDS = 4096 };

static volatile sig_atomic_t caught; /* the last signal that asked us to stop */

static void on_signal(int number) { caught = number; }

static void watch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        sigaction(signals[i], &action, NULL);
}

/* The list of strings at stack index `list`, NULL-terminated. */
static char **words_of(lua_State *L, int list)
{
    static char *words[MAX_WORDS];
    size_t count = lua_objlen(L, list);
    luaL_argcheck(L, count > 0 && count < MAX_WORDS, list, "too many or no arguments");
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        words[i] = (char *)luaL_checkstring(L, -1); /* the table keeps it alive */
        lua_pop(L, 1);
    }
    words[count] = NULL;
    return words;
}

static void set_variables(lua_State *L, int table)
{
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pushvalue(L, -2);
        setenv(lua_tostring(L, -1), lua_tostring(L, -2), 1);
        lua_pop(L, 2);
    }
}

static void become(char **words, int error_fd, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(EXIT_NOT_STARTED); /* it died before the line above */
    dup2(error_fd, STDERR_FILENO);
    execvp(words[0], words);
    fprintf(stderr, "mosaic-lua: cannot start %s: %s\n", words[0], strerror(errno));
    _exit(EXIT_NOT_STARTED);
}

/* spawn({program, ...}, {NAME = value, ...}) -> pid, fd of its stderr; or nil, message */
static int spawn(lua_State *L)
{
    int ends[2];
    char **words = words_of(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    watch_signals();
    pid_t parent = getpid(), pid = -1;
    if (!pipe(ends)) pid = fork();
    if (pid == 0) {
        close(ends[0]);
        set_variables(L, 2);
        become(words, ends[1], parent);
    }
    if (pid < 0) {
        lua_pushnil(L);
        lua_pushstring(L, strerror(errno));
        return 2;
    }
    close(ends[1]);
    lua_pushinteger(L, pid);
    lua_pushinteger(L, ends[0]);
    return 2;
}

/* read(fd, milliseconds) -> text, "" at the end, or nil when nothing came */
static int read_some(lua_State *L)
{
    char buffer[65536];
    struct pollfd watched = {.fd = (int)luaL_checkinteger(L, 1), .events = POLLIN};
    if (poll(&watched, 1, (int)luaL_checkinteger(L, 2)) <= 0) return 0;
    ssize_t length = read(watched.fd, buffer, sizeof buffer);
    if (length < 0 && (errno == EINTR || errno == EAGAIN)) return 0;
    lua_pushlstring(L, buffer, length > 0 ? (size_t)length : 0);
    return 1;
}

/* caught() -> the signal that asked us to stop since the last call, or nil */
static int take_signal(lua_State *L)
{
    int number = caught;
    caught = 0;
    if (!number) return 0;
    lua_pushinteger(L, number);
    return 1;
}

/* finished(pid) -> exit code (128 + signal when killed) and that signal; nil while it runs */
static int finished(lua_State *L)
{
    int status;
    if (waitpid((pid_t)luaL_checkinteger(L, 1), &status, WNOHANG) <= 0) return 0;
    if (!WIFSIGNALED(status)) {
        lua_pushinteger(L, WEXITSTATUS(status));
        return 1;
    }
    lua_pushinteger(L, 128 + WTERMSIG(status));
    lua_pushinteger(L, WTERMSIG(status));
    return 2;
}

static int send_signal(lua_State *L)
{
    kill((pid_t)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2));
    return 0;
}

static void kill_children(void)
{
    int child;
    FILE *list = fopen("/proc/thread-self/children", "r");
    if (!list) return;
    while (fscanf(list, "%d", &child) == 1) kill(child, SIGKILL);
    fclose(list);
}

/* reap(): ends every process below us. A killed child hands its own children to us: repeat. */
static int reap(lua_State *L)
{
    (void)L;
    for (int attempt = 0; attempt < 500; attempt++) {
        kill_children();
        pid_t gone;
        while ((gone = waitpid(-1, NULL, WNOHANG)) > 0) {
        }
        if (gone < 0) break; /* no child is left */
        usleep(10000);
    }
    return 0;
}

/* terminal(fd) -> columns, or nil when fd is no terminal */
static int terminal(lua_State *L)
{
    struct winsize size;
    int fd = (int)luaL_checkinteger(L, 1);
    if (!isatty(fd)) return 0;
    lua_pushinteger(L, ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80);
    return 1;
}

static int write_error(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    fflush(stdout);
    ssize_t written = write(STDERR_FILENO, text, length); /* one call: ranks do not interleave */
    lua_pushboolean(L, written == (ssize_t)length);
    return 1;
}

/* now() -> seconds on a clock that never jumps */
static int now(lua_State *L)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    lua_pushnumber(L, (double)time.tv_sec + 1e-9 * (double)time.tv_nsec);
    return 1;
}

/* sleep(milliseconds), or until a signal arrives */
static int sleep_for(lua_State *L)
{
    poll(NULL, 0, (int)luaL_checkinteger(L, 1));
    return 0;
}

static int host_name(lua_State *L)
{
    char name[256] = "";
    gethostname(name, sizeof name - 1);
    lua_pushstring(L, name);
    return 1;
}

void mosaic_host_process(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"spawn", spawn},       {"read", read_some},          {"caught", take_signal},
        {"finished", finished}, {"kill", send_signal},        {"reap", reap},
        {"terminal", terminal}, {"write_error", write_error}, {"host_name", host_name},
        {"now", now},           {"sleep", sleep_for},         {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
}
