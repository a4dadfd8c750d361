module weir.local/files

go 1.24
