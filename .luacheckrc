std = "luajit"
max_line_length = 110
ignore = { "581" } -- `not (x <= bound)` fails on NaN, `x > bound` does not
files["spec"] = { std = "+busted" }
