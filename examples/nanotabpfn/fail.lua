--- Ends a program over what the user gave it (options, files): a text without a place in the source.
return function(format, ...)
  error(format:format(...), 0)
end
