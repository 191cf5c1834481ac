//go:build !linux

package tun

import "errors"

// ErrNoTUN is returned by Open where there is no tunnel device.
var ErrNoTUN = errors.New("this system has no tunnel device: use userspace mode (--tun=userspace-networking)")

// Open fails: tunnel interfaces exist on Linux only so far.
func Open(name string, mtu int) (Device, error) { return nil, ErrNoTUN }
