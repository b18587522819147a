module go-pool

go 1.21
