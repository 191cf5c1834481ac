package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
)

// methods are the HTTP methods that debug localapi takes.
var methods = map[string]bool{
	http.MethodGet: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true, http.MethodHead: true,
}

// localAPICommand sends any request to the daemon.
func (a *app) localAPICommand() *ffcli.Command {
	fs := newFlags("localapi")
	verbose := fs.Bool("v", false, "show the answer's headers on stderr")
	return &ffcli.Command{
		Name: "localapi", ShortUsage: "ginnel debug localapi [-v] [<method>] <path> [<body>|-]", ShortHelp: "Send a request to the local API",
		LongHelp: `Sends a request and prints the answer. The path may leave out "/localapi/v0/"; a body
of "-" is read from the standard input, and makes the method POST unless one is given.`,
		FlagSet: fs,
		Exec:    func(ctx context.Context, args []string) error { return a.localAPI(ctx, *verbose, args) },
	}
}

// localAPI sends the request that args describe.
func (a *app) localAPI(ctx context.Context, verbose bool, args []string) error {
	method := ""
	if len(args) > 0 && methods[strings.ToUpper(args[0])] {
		method, args = strings.ToUpper(args[0]), args[1:]
	}
	switch {
	case len(args) == 0:
		return cli.Usagef("missing argument: the path")
	case len(args) > 2:
		return cli.Usagef("unexpected argument: %s", args[2])
	}
	var body io.Reader
	if len(args) == 2 {
		body = strings.NewReader(args[1])
		if args[1] == "-" {
			body = a.stdin
		}
		if method == "" {
			method = http.MethodPost
		}
	}
	if method == "" {
		method = http.MethodGet
	}
	resp, err := a.local().Raw(ctx, method, args[0], body, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if verbose {
		fmt.Fprintf(a.stderr, "%s\n", resp.Status)
		if err := resp.Header.Write(a.stderr); err != nil {
			return fmt.Errorf("print headers: %w", err)
		}
		fmt.Fprintln(a.stderr)
	}
	if _, err := io.Copy(a.stdout, resp.Body); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		if !verbose {
			fmt.Fprintf(a.stderr, "%s\n", resp.Status)
		}
		return exitError(1)
	}
	return nil
}
