//go:build !linux

package path

func setMark(uintptr, int) {}
