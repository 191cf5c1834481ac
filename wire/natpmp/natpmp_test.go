package natpmp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var requests = []struct {
	hex string
	req Request
}{
	{"0000", Request{Op: OpExternal}},
	{"00010000a1620000" + "00001c20", Request{Op: OpMapUDP, Internal: 41314, Lifetime: 7200}},
	{"00010000a162b000" + "00000000", Request{Op: OpMapUDP, Internal: 41314, External: 45056}},
	{"0002000000500050" + "00000e10", Request{Op: OpMapTCP, Internal: 80, External: 80, Lifetime: 3600}},
}

var responses = []struct {
	hex string
	res Response
}{
	{"00800000" + "00000e10" + "cb007105", Response{Op: OpExternal, Epoch: 3600, Address: netip.MustParseAddr("203.0.113.5")}},
	{"00810000" + "00000e10" + "a162b00000001c20", Response{Op: OpMapUDP, Epoch: 3600, Internal: 41314, External: 45056, Lifetime: 7200}},
}

func TestRequests(t *testing.T) {
	for _, c := range requests {
		want := unhex(t, c.hex)
		if got := c.req.Append(nil); !bytes.Equal(got, want) {
			t.Errorf("%+v is %x, want %x", c.req, got, want)
		}
		if got, err := ParseRequest(want); err != nil || got != c.req {
			t.Errorf("%s parses to %+v, %v", c.hex, got, err)
		}
	}
}

func TestResponses(t *testing.T) {
	for _, c := range responses {
		want := unhex(t, c.hex)
		if got := c.res.Append(nil); !bytes.Equal(got, want) {
			t.Errorf("%+v is %x, want %x", c.res, got, want)
		}
		if got, err := ParseResponse(want); err != nil || got != c.res {
			t.Errorf("%s parses to %+v, %v", c.hex, got, err)
		}
		for _, wrong := range [][]byte{want[:len(want)-1], append(bytes.Clone(want), 0)} {
			if r, err := ParseResponse(wrong); !errors.Is(err, ErrLength) {
				t.Errorf("%x parses to %+v, %v", wrong, r, err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		hex string
		res Response
		err error
	}{
		{"0081000200000007", Response{Op: OpMapUDP, Result: NotAuthorized, Epoch: 7}, nil},
		{"0080000300000007" + "00000000", Response{Op: OpExternal, Result: NetworkFailure, Epoch: 7}, nil},
		{"0081000400000007" + "a162000000000000", Response{Op: OpMapUDP, Result: OutOfResources, Epoch: 7}, nil},
		{"0081000400000007" + "a16200000000000000", Response{}, ErrLength},
		{"00800001000000", Response{}, ErrLength},
		{"0280000100000007" + "0000000000000000" + "0000000000000000", Response{}, ErrVersion}, // PCP
		{"0001000000000007", Response{}, ErrOpcode},
		{"0083000000000007", Response{}, ErrOpcode},
		{"", Response{}, ErrLength},
	} {
		got, err := ParseResponse(unhex(t, c.hex))
		if !errors.Is(err, c.err) || got != c.res {
			t.Errorf("%s parses to %+v, %v, want %+v, %v", c.hex, got, err, c.res, c.err)
		}
	}
	for hex, want := range map[string]error{
		"":                         ErrLength,
		"00":                       ErrLength,
		"000000":                   ErrLength,
		"0001000012340000":         ErrLength,
		"00810000":                 ErrLength, // an answer is not answered
		"0201000000000000":         ErrVersion,
		"0009":                     ErrOpcode,
		"00010000a1620000001c2000": nil,
	} {
		if r, err := ParseRequest(unhex(t, hex)); !errors.Is(err, want) {
			t.Errorf("request %s parses to %+v, %v, want %v", hex, r, err, want)
		}
	}
	refusal := AppendRefusal(nil, unhex(t, "0201"), UnsupportedVersion, 9)
	if r, err := ParseResponse(refusal); err != nil || r != (Response{Op: OpMapUDP, Result: UnsupportedVersion, Epoch: 9}) {
		t.Errorf("%x parses to %+v, %v", refusal, r, err)
	}
}

func TestLost(t *testing.T) {
	for _, c := range []struct {
		before, now uint32
		elapsed     time.Duration
		lost        bool
	}{
		{1000, 1060, time.Minute, false},
		{1000, 1000, 0, false},
		{1000, 1051, time.Minute, false}, // its clock is slow, but not by an eighth and 2 s
		{1000, 1050, time.Minute, true},
		{1000, 999, 0, false},
		{1000, 3, time.Minute, true},
		{10, 5000, time.Minute, false}, // faster is no reset here
	} {
		if got := Lost(c.before, c.now, c.elapsed); got != c.lost {
			t.Errorf("from %d to %d within %v: %v", c.before, c.now, c.elapsed, got)
		}
	}
}

// FuzzParse parses arbitrary messages of both sides. What parses completely appends to
// the same bytes again, but for bytes that mean nothing.
func FuzzParse(f *testing.F) {
	for _, c := range requests {
		f.Add(unhex(f, c.hex))
	}
	for _, c := range responses {
		f.Add(unhex(f, c.hex))
	}
	f.Add(unhex(f, "0081000200000007"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRequest(b); err == nil {
			again, err := ParseRequest(r.Append(nil))
			if err != nil || again != r {
				t.Fatalf("%x: %+v became %+v, %v", b, r, again, err)
			}
		} else {
			if _, err := ParseRequest(AppendRefusal(nil, b, UnsupportedVersion, 1)); err == nil {
				t.Fatalf("the refusal of %x is a request", b)
			}
		}
		if r, err := ParseResponse(b); err == nil && r.Result == Success {
			if again := r.Append(nil); !bytes.Equal(again, b) {
				t.Fatalf("%x: %+v became %x", b, r, again)
			}
		}
	})
}
