--- The first `count` entries of a list, and the others; unpack would end at some 8,000 of them.
return function(list, count)
  local first, second = {}, {}
  for i, entry in ipairs(list) do
    if i <= count then first[i] = entry else second[i - count] = entry end
  end
  return first, second
end
