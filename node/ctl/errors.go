package ctl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// UnreachableError says that no connection to the server came about.
type UnreachableError struct {
	URL string // the server's
	Err error
}

// Error says what to look at.
func (e *UnreachableError) Error() string {
	var dns *net.DNSError
	if errors.As(e.Err, &dns) && dns.IsNotFound {
		return fmt.Sprintf("the name of the coordination server %s does not resolve; check --login-server and this machine's DNS", e.URL)
	}
	return fmt.Sprintf("cannot reach the coordination server %s: %v; check that it is running and that this machine can connect to it", e.URL, e.Err)
}

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// NotServerError says that something answers at the URL, but not a coordination
// server.
type NotServerError struct {
	URL    string // the server's
	Detail string // what it did
}

// Error says what answered how.
func (e *NotServerError) Error() string {
	return fmt.Sprintf("%s does not look like a coordination server (%s); check --login-server", e.URL, e.Detail)
}

// TLSError says that the server's certificate was not accepted.
type TLSError struct {
	URL string // the server's
	Err error
	Now time.Time // by the local clock
}

// Error says what is wrong with the certificate and what may cause it.
func (e *TLSError) Error() string {
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	what, hint := e.Err.Error(), "check the server's certificate"
	switch {
	case errors.As(e.Err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		// Days, not seconds: the text is to be the same at each attempt.
		day := func(t time.Time) string { return t.UTC().Format(time.DateOnly) }
		what = "its certificate expired on " + day(invalid.Cert.NotAfter)
		if e.Now.Before(invalid.Cert.NotBefore) {
			what = "its certificate is not valid before " + day(invalid.Cert.NotBefore)
		}
		hint = fmt.Sprintf("if %s, which this machine's clock says, is not today, set the clock; else renew the server's certificate", day(e.Now))
	case errors.Is(e.Err, http.ErrSchemeMismatch), errors.As(e.Err, &record):
		hint = "the port does not speak TLS: did you mean http:// instead of https://?"
	case errors.As(e.Err, &authority):
		hint = "if it is signed by your own authority, add that to this machine's certificates; if it signs itself, use the URL that the server prints when it starts"
	}
	return fmt.Sprintf("secure connection to the coordination server %s failed: %s; %s", e.URL, what, hint)
}

// Unwrap returns the cause.
func (e *TLSError) Unwrap() error { return e.Err }

// RefusedError is the server's answer that it will not register this node. Its
// text is meant for the user.
type RefusedError struct{ Text string }

// Error returns the server's words.
func (e *RefusedError) Error() string { return "the coordination server refused: " + e.Text }

// RateLimitedError is the server's wish to be left alone for a while.
type RateLimitedError struct{ Wait time.Duration }

// Error says how long.
func (e *RateLimitedError) Error() string {
	return fmt.Sprintf("the coordination server is busy; trying again in %v", e.Wait.Round(time.Second))
}

// StatusError is an HTTP answer other than 200 inside the Noise connection.
type StatusError struct {
	Op   string // which request
	Code int    // HTTP status
	Text string // first bytes of the body
}

// Error names the request, the status and the server's words.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: http %d: %s", e.Op, e.Code, e.Text)
}

// ErrUnknownNode is in the chain of errors after which the server turned out not
// to know this node any more.
var ErrUnknownNode = errors.New("the coordination server does not know this node; it may have been deleted there")

// errSilent is why a stream without keepalives is given up.
var errSilent = errors.New("the coordination server has been silent for too long")

// classifyHTTP turns an error of an HTTP request to the server into one of the
// types above.
func classifyHTTP(url string, err error) error {
	var record tls.RecordHeaderError
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	if errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record) || errors.As(err, &verify) || errors.As(err, &alert) {
		return &TLSError{URL: url, Err: err, Now: time.Now()}
	}
	if strings.Contains(err.Error(), "malformed HTTP") { // net/http has no type for it
		return &NotServerError{URL: url, Detail: "what answers there does not speak HTTP"}
	}
	return &UnreachableError{URL: url, Err: err}
}
