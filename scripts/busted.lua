--- busted inside mosaic-lua: `build/mosaic-lua [-n P] scripts/busted.lua [options] [spec files or folders]`.
table.insert(arg, 1, "--ignore-lua")
table.insert(arg, 1, "--lpath=./?.lua;examples/?.lua") -- Mosaic's sources are the program's own

--- Every file of specs loads Mosaic anew; what MOSAIC_DEVICE made the program load would stay, half old.
for name in pairs(package.loaded) do
  if name == "ffi" or name:find "^mosaic%." then package.loaded[name] = nil end
end
local passed = pcall(require "busted.runner", { standalone = false })
if not passed then os.exit(1) end
