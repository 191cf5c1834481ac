//go:build !linux

package udpbatch

// disableGSO has nothing to turn off.
func disableGSO(Conn, bool) {}
