/* editor.c - lines from the terminal: through libedit where it is installed, else plain ones.
 *
 * libedit is opened at run time, so that a build works without it and is the same with it. */
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host.h"

/* The part of libedit's <editline/readline.h> in use. */
static struct {
    char *(*readline)(const char *prompt);
    int (*add_history)(const char *line);
    int (*read_history)(const char *file);
    int (*write_history)(const char *file);
    void (*stifle_history)(int lines);
    char **(*completion_matches)(const char *text, char *(*generate)(const char *, int));
    char **(**attempted_completion)(const char *text, int start, int end);
    int *completion_over;
    int *append_character;
    const char **word_breaks;
} edit;

static lua_State *state;       /* for the completion callback */
static int complete_reference; /* complete(word) -> list of words */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

static int open_libedit(void)
{
    void *library = dlopen("libedit.so.2", RTLD_NOW);
    if (!library) return 0;
    const struct {
        void *slot;
        const char *name;
    } symbols[] = {
        {&edit.readline, "readline"},
        {&edit.add_history, "add_history"},
        {&edit.read_history, "read_history"},
        {&edit.write_history, "write_history"},
        {&edit.stifle_history, "stifle_history"},
        {&edit.completion_matches, "rl_completion_matches"},
        {&edit.attempted_completion, "rl_attempted_completion_function"},
        {&edit.completion_over, "rl_attempted_completion_over"},
        {&edit.append_character, "rl_completion_append_character"},
        {&edit.word_breaks, "rl_completer_word_break_characters"},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *address = dlsym(library, symbols[i].name);
        if (!address) return 0;
        memcpy(symbols[i].slot, &address, sizeof address);
    }
    return 1;
}

/* Word number `next` of the list on top of the Lua stack; libedit frees it. */
static char *next_word(const char *text, int next)
{
    static int index;
    (void)text;
    index = next ? index + 1 : 1;
    lua_rawgeti(state, -1, index);
    const char *word = lua_tostring(state, -1);
    char *copy = word ? strdup(word) : NULL;
    lua_pop(state, 1);
    return copy;
}

static char **complete(const char *text, int start, int end)
{
    (void)start, (void)end;
    *edit.completion_over = 1; /* never file names */
    *edit.append_character = '\0';
    lua_rawgeti(state, LUA_REGISTRYINDEX, complete_reference);
    lua_pushstring(state, text);
    char **matches = NULL;
    if (!lua_pcall(state, 1, 1, 0) && lua_istable(state, -1))
        matches = edit.completion_matches(text, next_word);
    lua_pop(state, 1);
    return matches;
}

/* open_editor(complete, history file) -> whether libedit edits the lines */
static int open_editor(lua_State *L)
{
    int usable = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && open_libedit();
    if (usable) {
        static char breaks[] = " \t\n\"'`+-*/^%><=~;,|&!?#()[]{}";
        state = L;
        lua_pushvalue(L, 1);
        complete_reference = luaL_ref(L, LUA_REGISTRYINDEX);
        *edit.attempted_completion = complete;
        *edit.word_breaks = breaks;
        edit.read_history(luaL_checkstring(L, 2));
        edit.stifle_history(1000);
    }
    lua_pushboolean(L, usable);
    return 1;
}

static char *plain_line(const char *prompt)
{
    char *line = NULL;
    size_t capacity = 0;
    fputs(prompt, stdout);
    fflush(stdout);
    ssize_t length = getline(&line, &capacity, stdin);
    if (length < 0) {
        free(line);
        return NULL;
    }
    if (length > 0 && line[length - 1] == '\n') line[length - 1] = '\0';
    return line;
}

/* read_line(prompt) -> line; nil at the end of the input; false after Ctrl-C */
static int read_line(lua_State *L)
{
    struct sigaction action = {.sa_handler = on_interrupt}, before;
    const char *prompt = luaL_checkstring(L, 1);
    interrupted = 0;
    sigaction(SIGINT, &action, &before);
    char *line = state ? edit.readline(prompt) : plain_line(prompt);
    sigaction(SIGINT, &before, NULL);
    if (interrupted) {
        clearerr(stdin);
        lua_pushboolean(L, 0);
    } else if (line) {
        lua_pushstring(L, line);
    } else {
        lua_pushnil(L);
    }
    free(line);
    return 1;
}

/* remember(line, history file) */
static int remember(lua_State *L)
{
    if (state) {
        edit.add_history(luaL_checkstring(L, 1));
        edit.write_history(luaL_checkstring(L, 2));
    }
    return 0;
}

void mosaic_host_editor(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"open_editor", open_editor},
        {"read_line", read_line},
        {"remember", remember},
        {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
}
