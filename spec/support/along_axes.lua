--- `along_axes(x, g, f)`: f(view of x, the same view of g, axis) along every axis of several strides.
-- x, and g on another device, are (4, 9, 5).
return function(x, g, f)
  for axis = 1, 3 do
    f(x, g, axis)
    f(x:permute(3, 1, 2), g:permute(3, 1, 2), axis)
    f(x:slice(2, 2, 4, 2), g:slice(2, 2, 4, 2), axis)
  end
  for axis = 1, 2 do
    f(x:slice(1, 1, 1):expand(3, 9, 5), g:slice(1, 1, 1):expand(3, 9, 5), axis)
  end
end
