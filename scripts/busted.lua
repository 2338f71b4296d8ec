--- busted inside mosaic-lua: `build/mosaic-lua [-n P] scripts/busted.lua [options] [spec files or folders]`.
table.insert(arg, 1, "--ignore-lua")
local passed = pcall(require "busted.runner", { standalone = false })
if not passed then os.exit(1) end
