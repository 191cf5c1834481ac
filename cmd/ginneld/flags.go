package main

import (
	"flag"
	"net"
	"path/filepath"
	"strconv"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/node"
	"github.com/ginnel/ginnel/node/local/paths"
	"github.com/ginnel/ginnel/node/state"
)

// defaultTUN is the name of the tunnel interface unless told otherwise.
const defaultTUN = "ginnel0"

// portEnv is the environment variable that the systemd unit sets the port by.
const portEnv = "PORT"

// options are the daemon's flags.
type options struct {
	verbose     int
	cleanup     bool
	debugAddr   string
	tun         string
	portText    string
	port        uint16 // of portText
	statePath   string
	stateDir    string
	socket      string
	socks5      string
	httpProxy   string
	noLogs      bool
	logFile     string
	logSizeText string
	logFileSize int64 // bytes, of logSizeText
}

// define names the flags.
func (o *options) define(fs *flag.FlagSet, getenv func(string) string) {
	fs.IntVar(&o.verbose, "verbose", 0, "log `verbosity`: 0 is normal, 1 and more include debugging messages")
	fs.BoolVar(&o.cleanup, "cleanup", false, "undo what a daemon that crashed did to this machine's network, and exit")
	fs.StringVar(&o.debugAddr, "debug", "", "`address` for an HTTP server with metrics and profiles, such as localhost:6060")
	fs.StringVar(&o.tun, "tun", defaultTUN, "`name` of the tunnel interface, or \""+node.Userspace+"\" to run without one and without root; a comma list is tried in order")
	fs.StringVar(&o.portText, "port", getenv(portEnv), "UDP `port` for peers; empty or 0 for any; without the flag, $"+portEnv)
	fs.StringVar(&o.statePath, "state", "", "state `file`, or \""+state.Memory+"\" to forget everything at exit (default "+paths.DefaultState()+")")
	fs.StringVar(&o.stateDir, "statedir", "", "`directory` for the state and other files (default: that of --state)")
	fs.StringVar(&o.socket, "socket", paths.DefaultSocket(), "`path` of the local API socket")
	fs.StringVar(&o.socks5, "socks5-server", "", "`address` for a SOCKS5 server into the mesh, such as localhost:1055")
	fs.StringVar(&o.httpProxy, "outbound-http-proxy-listen", "", "`address` for an HTTP proxy into the mesh; may be that of --socks5-server")
	fs.BoolVar(&o.noLogs, "no-logs-no-support", false, "accepted for compatibility: no logs are ever uploaded")
	fs.StringVar(&o.logFile, "log-file", "", "log to this `file` instead of standard error; it is rotated, with one old file kept as FILE.1")
	fs.StringVar(&o.logSizeText, "log-file-size", "10", "size in `MB` at which --log-file is rotated")
}

// check completes and validates the options.
func (o *options) check() error {
	if o.portText != "" {
		n, err := strconv.ParseUint(o.portText, 10, 16)
		if err != nil {
			return cli.Usagef("--port %q: a number from 0 to 65535 is needed", o.portText)
		}
		o.port = uint16(n)
	}
	megabytes, err := strconv.ParseInt(o.logSizeText, 10, 32)
	if err != nil || megabytes < 1 {
		return cli.Usagef("--log-file-size %q: a number of megabytes is needed", o.logSizeText)
	}
	o.logFileSize = megabytes << 20
	if o.tun == "" {
		return cli.Usagef("--tun needs a name, or %q", node.Userspace)
	}
	switch {
	case o.statePath == "" && o.stateDir != "":
		o.statePath = filepath.Join(o.stateDir, "ginneld.state")
	case o.statePath == "":
		o.statePath = paths.DefaultState()
	}
	switch {
	case o.stateDir != "":
	case o.statePath != state.Memory:
		o.stateDir = filepath.Dir(o.statePath)
	case o.tun != node.Userspace:
		o.stateDir = paths.DefaultStateDir() // for the journal of routes
	}
	for _, a := range []struct{ flag, addr string }{
		{"--socks5-server", o.socks5}, {"--outbound-http-proxy-listen", o.httpProxy}, {"--debug", o.debugAddr},
	} {
		if a.addr == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(a.addr); err != nil {
			return cli.Usagef("%s %q: want host:port", a.flag, a.addr)
		}
	}
	return nil
}
