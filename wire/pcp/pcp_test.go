package pcp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var nonce = Nonce{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

const (
	client4  = "00000000000000000000ffffc0a8010a"
	client6  = "20010db8000200010000000000000009"
	nonceHex = "0102030405060708090a0b0c"
	zero4    = "00000000000000000000ffff00000000"
)

var requests = []struct {
	hex string
	req Request
}{
	{"02000000 00000000" + client4, Request{Op: OpAnnounce, Client: netip.MustParseAddr("192.168.1.10")}},
	{
		"02010000 00001c20" + client4 + nonceHex + "11000000 a162 0000" + zero4,
		Request{
			Op: OpMap, Lifetime: 7200, Client: netip.MustParseAddr("192.168.1.10"),
			Map: Map{Nonce: nonce, Protocol: UDP, Internal: 41314, External: netip.MustParseAddrPort("0.0.0.0:0")},
		},
	},
	{
		"02010000 00000000" + client6 + nonceHex + "11000000 a162 a162" + client6,
		Request{
			Op: OpMap, Client: netip.MustParseAddr("2001:db8:2:1::9"),
			Map: Map{Nonce: nonce, Protocol: UDP, Internal: 41314, External: netip.MustParseAddrPort("[2001:db8:2:1::9]:41314")},
		},
	},
}

var responses = []struct {
	hex string
	res Response
}{
	{"02800000 00000000 00000e10" + strings.Repeat("00", 12), Response{Op: OpAnnounce, Epoch: 3600}},
	{
		"02810000 00001c20 00000e10" + strings.Repeat("00", 12) + nonceHex + "11000000 a162 b000 00000000000000000000ffffcb007105",
		Response{
			Op: OpMap, Lifetime: 7200, Epoch: 3600,
			Map: Map{Nonce: nonce, Protocol: UDP, Internal: 41314, External: netip.MustParseAddrPort("203.0.113.5:45056")},
		},
	},
	{
		"0281000c 00000708 00000e10" + strings.Repeat("00", 12) + nonceHex + "11000000 a162 0000" + zero4,
		Response{
			Op: OpMap, Result: AddressMismatch, Lifetime: 1800, Epoch: 3600,
			Map: Map{Nonce: nonce, Protocol: UDP, Internal: 41314, External: netip.MustParseAddrPort("0.0.0.0:0")},
		},
	},
}

func TestRequests(t *testing.T) {
	for _, c := range requests {
		want := unhex(t, c.hex)
		if got := c.req.Append(nil); !bytes.Equal(got, want) {
			t.Errorf("%+v is\n%x, want\n%x", c.req, got, want)
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
			t.Errorf("%+v is\n%x, want\n%x", c.res, got, want)
		}
		if got, err := ParseResponse(want); err != nil || got != c.res {
			t.Errorf("%s parses to %+v, %v", c.hex, got, err)
		}
		for _, cut := range []int{1, 4} {
			short := want[:len(want)-cut]
			if c.res.Result != Success && cut%4 == 0 {
				continue // an error may come without its part
			}
			if r, err := ParseResponse(short); !errors.Is(err, ErrLength) {
				t.Errorf("%x parses to %+v, %v", short, r, err)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	base := responses[1].res.Append(nil)
	for tail, want := range map[string]error{
		"02000000":                  nil,
		"02000004 01020304":         nil,
		"02000005 01020304050607":   ErrLength, // not padded
		"02000005 0102030405000000": nil,
		"02000008 01020304":         ErrOption,
		"0200ffff 01020304":         ErrOption,
	} {
		if r, err := ParseResponse(append(bytes.Clone(base), unhex(t, tail)...)); !errors.Is(err, want) {
			t.Errorf("with option %s: %+v, %v, want %v", tail, r, err, want)
		}
	}
	if _, err := ParseResponse(append(bytes.Clone(base), make([]byte, MaxLen)...)); !errors.Is(err, ErrLength) {
		t.Errorf("an endless message: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		hex string
		err error
	}{
		{"00800001 00000007", ErrVersion}, // NAT-PMP
		{"02800000 00000000", ErrLength},
		{"", ErrLength},
		{requests[0].hex, ErrOpcode},
		{"02850000 00000000 00000007" + strings.Repeat("00", 12), ErrOpcode},
	} {
		if r, err := ParseResponse(unhex(t, c.hex)); !errors.Is(err, c.err) {
			t.Errorf("response %s parses to %+v, %v, want %v", c.hex, r, err, c.err)
		}
	}
	for _, c := range []struct {
		hex string
		err error
	}{
		{"0000", ErrVersion}, // NAT-PMP
		{"02", ErrLength},
		{responses[0].hex, ErrLength}, // an answer is not answered
		{"02010000 00001c20" + client4, ErrLength},
		{"02070000 00001c20" + client4, ErrOpcode},
	} {
		if r, err := ParseRequest(unhex(t, c.hex)); !errors.Is(err, c.err) {
			t.Errorf("request %s parses to %+v, %v, want %v", c.hex, r, err, c.err)
		}
	}
	refusal := AppendRefusal(nil, requests[1].req.Append(nil), NotAuthorized, 60, 9)
	r, err := ParseResponse(refusal)
	if err != nil || r.Result != NotAuthorized || r.Lifetime != 60 || r.Epoch != 9 || r.Map != requests[1].req.Map {
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
		{1000, 999, 0, false}, // reordered
		{1000, 998, 0, true},
		{1000, 1055, time.Minute, false},
		{1000, 1054, time.Minute, true},
		{1000, 1066, time.Minute, false},
		{1000, 1068, time.Minute, true}, // too fast
		{1000, 3, time.Minute, true},
	} {
		if got := Lost(c.before, c.now, c.elapsed); got != c.lost {
			t.Errorf("from %d to %d within %v: %v", c.before, c.now, c.elapsed, got)
		}
	}
}

// FuzzParse parses arbitrary messages of both sides. What parses appends to something
// that parses to the same.
func FuzzParse(f *testing.F) {
	for _, c := range requests {
		f.Add(unhex(f, c.hex))
	}
	for _, c := range responses {
		f.Add(unhex(f, c.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRequest(b); err == nil {
			if again, err := ParseRequest(r.Append(nil)); err != nil || again != r {
				t.Fatalf("%x: %+v became %+v, %v", b, r, again, err)
			}
		}
		if r, err := ParseResponse(b); err == nil {
			if again, err := ParseResponse(r.Append(nil)); err != nil || again != r {
				// A refusal without its part gets an empty one.
				if r.Result == Success || again.Map.Nonce != (Nonce{}) {
					t.Fatalf("%x: %+v became %+v, %v", b, r, again, err)
				}
			}
		}
		if refusal := AppendRefusal(nil, b, MalformedRequest, 1, 1); len(refusal) > MaxLen || len(refusal)%4 != 0 {
			t.Fatalf("the refusal of %x has %d bytes", b, len(refusal))
		}
	})
}
