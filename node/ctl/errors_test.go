package ctl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestTLSErrorsSayWhatToDo(t *testing.T) {
	for want, cause := range map[string]error{
		"did you mean http://":           tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"},
		"use the URL that the server":    &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}},
		"check the server's certificate": &tls.CertificateVerificationError{Err: errors.New("bad")},
	} {
		err := classifyHTTP("https://a.example", fmt.Errorf("get key: %w", cause))
		var tlsErr *TLSError
		if !errors.As(err, &tlsErr) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "https://a.example") {
			t.Errorf("%v: %v, want %q", cause, err, want)
		}
	}
}
