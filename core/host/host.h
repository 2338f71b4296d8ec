/* host.h - what lua/mosaic/host cannot do in Lua: processes, signals, the line editor. */
#ifndef MOSAIC_HOST_H
#define MOSAIC_HOST_H
#include <lauxlib.h>
#include <lua.h>

/* Each adds its functions to the table on top of the stack. */
void mosaic_host_process(lua_State *L);
void mosaic_host_interrupt(lua_State *L);
void mosaic_host_editor(lua_State *L);

#endif
