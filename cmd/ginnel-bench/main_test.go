package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/relay"
	"github.com/ginnel/ginnel/server"
	"github.com/ginnel/ginnel/server/tailnet"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// startRelay runs a relay and returns its URL and the pin of its certificate.
func startRelay(t *testing.T) (url, pin string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	s, err := relay.New(relay.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := relay.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: s.Handler(), ErrorLog: log.New(io.Discard, "", 0)}
	cfg := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: priv}}}
	go hs.Serve(tls.NewListener(l, s.AppendMetaCert(cfg)))
	t.Cleanup(func() { hs.Close(); s.Close() })
	return "https://" + l.Addr().String(), wire.FormatPin(sha256.Sum256(der))
}

func TestRelay(t *testing.T) {
	url, pin := startRelay(t)
	args := []string{"relay", "-url", url, "-cert-name", pin, "-pairs", "2", "-count", "3200", "-duration", "30s",
		"-idle-duration", "50ms", "-pid", strconv.Itoa(os.Getpid())}
	var out bytes.Buffer
	if err := run(context.Background(), append(args, "-json"), &out); err != nil {
		t.Fatal(err)
	}
	var res relayResult
	if err := json.Unmarshal(out.Bytes(), &res); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	if res.Sent != 6400 || res.Received < 6000 || res.Received > res.Sent || res.Gbps <= 0 || res.PacketsPerSecond <= 0 ||
		res.RelayRSSBytes == 0 || res.IdleRoundTrip.Samples == 0 || res.LoadedOneWay.Samples == 0 || res.LoadedOneWay.P50 > res.LoadedOneWay.P99 {
		t.Errorf("result %+v", res)
	}
	out.Reset()
	if err := run(context.Background(), args, &out); err != nil || !strings.Contains(out.String(), "Gbit/s") {
		t.Errorf("%v: %s", err, &out)
	}
}

// startServer runs a coordination server and returns its URL and a reusable key.
func startServer(t *testing.T) (url, authKey string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cfg := server.DefaultConfig()
	cfg.DataDir, cfg.Listen, cfg.STUN, cfg.URL = t.TempDir(), []string{addr}, "", "http://"+addr
	cfg.Logger = slog.New(slog.DiscardHandler)
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("server: %v", err)
		}
	})
	for u := range s.Tailnet().Snapshot().Users(tailnet.DefaultTailnet) {
		_, authKey, err = s.Tailnet().CreateAuthKey(ctx, tailnet.Actor{}, tailnet.AuthKeyParams{UserID: u.ID, Reusable: true, Preauthorized: true})
		break
	}
	if authKey == "" && err == nil {
		err = errors.New("a new server has no user")
	}
	if err != nil {
		t.Fatal(err)
	}
	return cfg.URL, authKey
}

func TestControl(t *testing.T) {
	for _, change := range []string{changeEndpoint, changeRename} {
		t.Run(change, func(t *testing.T) {
			url, authKey := startServer(t)
			var out bytes.Buffer
			err := run(context.Background(), []string{"control", "-url", url, "-auth-key", authKey, "-nodes", "8",
				"-rate", "20", "-duration", "500ms", "-change", change, "-pid", strconv.Itoa(os.Getpid()), "-json"}, &out)
			if err != nil {
				t.Fatal(err)
			}
			var res controlResult
			if err := json.Unmarshal(out.Bytes(), &res); err != nil {
				t.Fatalf("%v: %s", err, &out)
			}
			if res.Nodes != 8 || res.JoinsPerSecond <= 0 || res.FirstMap.Samples != 8 || res.Changes != 10 || res.FullyTold != 10 ||
				res.ToldEach.Samples != 70 || res.ToldLast.Samples != 10 || res.ServerRSS == 0 || res.Lost != 0 {
				t.Errorf("result %+v", res)
			}
		})
	}
}

func TestControlRefused(t *testing.T) {
	url, _ := startServer(t)
	err := run(context.Background(), []string{"control", "-url", url, "-auth-key", "wrong", "-nodes", "2"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "node") {
		t.Errorf("joining with a wrong key: %v", err)
	}
}

func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"fly":                                "ginnel-bench: unknown subcommand: fly\nSee 'ginnel-bench --help'.",
		"relai":                              `Did you mean "ginnel-bench relay"?`,
		"relay":                              "ginnel-bench relay: --url is needed\nSee 'ginnel-bench relay --help'.",
		"relay --url https://a more":         "unexpected argument: more",
		"relay --url https://a --pairs 0":    "--pairs",
		"relay --url https://a --size 15":    "--size must be from 16",
		"relay --url https://a --size 65537": "--size must be from 16",
		"relay --no-such-flag":               "unknown flag: --no-such-flag",
		"control --url http://a":             "--url and --auth-key are needed",
		"control --url http://a --auth-key k --nodes 1":    "--nodes must be from 2",
		"control --url http://a --auth-key k --change all": "--change must be endpoint or rename",
		"control --url http://a --auth-key k --rate 1e9":   "--rate must be above 0",
	} {
		err := run(context.Background(), strings.Fields(line), io.Discard)
		var usage *cli.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want a usage error with %q", line, err, want)
		}
	}
	err := run(context.Background(), []string{"relay", "--url", "https://127.0.0.1:1", "--pid", "999999999"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "--pid") {
		t.Errorf("unknown process: %v", err)
	}
	var out bytes.Buffer
	if err := run(context.Background(), nil, &out); err != nil || !strings.Contains(out.String(), "SUBCOMMANDS") {
		t.Errorf("without a sub-command: %v, %q", err, &out)
	}
}

func TestParsers(t *testing.T) {
	stat := "12 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1 0 100 0 0\n"
	if d, err := parseStat([]byte(stat)); err != nil || d != 1750*time.Millisecond {
		t.Errorf("CPU time %v, %v", d, err)
	}
	for _, bad := range []string{"", "12 (a) S", "12 (a) S 1 2 3 4 5 6 7 8 9 10 x 25"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("status %q was accepted", bad)
		}
	}
	rss, peak, err := parseStatus([]byte("Name:\tVmRSS\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"))
	if err != nil || rss != 1<<20 || peak != 2<<20 {
		t.Errorf("memory %d, %d, %v", rss, peak, err)
	}
	if _, _, err := parseStatus([]byte("Name:\tx\n")); err == nil {
		t.Error("a status without memory was accepted")
	}
}

func TestSummarise(t *testing.T) {
	var r reservoir
	const n = 3*maxSamples + 7
	for i := range n {
		r.add(time.Duration(n-i) * time.Millisecond)
	}
	if len(r.ds) > maxSamples || len(r.ds) < maxSamples/2 {
		t.Errorf("%d samples kept", len(r.ds))
	}
	l := summarise(r.ds)
	if half := float64(n) / 2; l.P50 < half*0.99 || l.P50 > half*1.01 || l.P99 < 1.97*half || l.Max < l.P99 {
		t.Errorf("summary %+v of 1 to %d ms", l, n)
	}
	if summarise(nil) != (latency{}) {
		t.Error("summary of nothing")
	}
}

func TestNote(t *testing.T) {
	f := &fleet{c: &controlConfig{change: changeEndpoint}, changes: make([]change, 3)}
	for i := range f.changes {
		f.changes[i].heard = make([]bool, 4)
	}
	now := time.Now()
	f.note(1, []byte(`{"PeersChangedPatch":[{"Endpoints":["198.18.0.1:10002","10.0.0.1:10001"]},{"Endpoints":["198.18.0.1:10000"]}]}`), now)
	f.note(1, []byte(`{"Endpoints":["198.18.0.1:10002"]}`), now) // again
	f.note(0, []byte(`"198.18.0.1:10000"`), now)                 // of itself
	f.note(2, []byte(`"198.18.0.1:10009","198.18.0.1:1","198.18.0.1:x`), now)
	for i, want := range []int{1, 0, 1} {
		if got := f.changes[i].count(); got != want {
			t.Errorf("change %d: told %d, want %d", i, got, want)
		}
	}
}
