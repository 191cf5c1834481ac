//go:build !linux

package main

import (
	"io"

	"github.com/peterbourgon/ff/v3/ffcli"
)

// systemCommands are none: the benchmarks that start what they measure need Linux.
func systemCommands(io.Writer) []*ffcli.Command { return nil }
