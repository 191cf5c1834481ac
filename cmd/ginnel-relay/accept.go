package main

import (
	"net"

	"golang.org/x/time/rate"
)

// limitedListener closes connections that come too fast, and goes on.
type limitedListener struct {
	net.Listener
	limiter *rate.Limiter
}

// limitAccepts wraps l.
func limitAccepts(l net.Listener, perSecond float64, burst int) net.Listener {
	return &limitedListener{l, rate.NewLimiter(rate.Limit(perSecond), burst)}
}

// Accept returns the next connection within the limit.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil || l.limiter.Allow() {
			return nc, err
		}
		nc.Close()
	}
}
