module throughline.example/servers

go 1.26.0
