--- Infini-attention: no strategy here computes it yet.
return function() return { skipped = "infini" } end
