// Command ginnel-server is the coordination server. See package command for what
// it does.
package main

import (
	"context"
	"os"

	"github.com/ginnel/ginnel/server/command"
)

func main() {
	os.Exit(command.Main(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
