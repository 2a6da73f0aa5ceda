module postkeeper.example/sdkcheck

go 1.21

require (
	github.com/AhaSend/ahasend-go v0.1.0
	github.com/google/uuid v1.6.0
)
