package control

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"
)

// TestDeepNestingIsRefused nests far deeper than any message does. It must end in an
// error, wherever the nesting is: not in a stack without end.
func TestDeepNestingIsRefused(t *testing.T) {
	const depth = 1 << 20
	deep := strings.Repeat("[", depth) + strings.Repeat("]", depth)
	for _, body := range []string{
		deep,
		`{"Unknown":` + deep + `}`,
		`{"Hostinfo":{"Services":` + deep + `}}`,
		`{"Node":{"CapMap":{"x":` + deep + `}}}`,
		strings.Repeat(`{"Node":`, depth),
	} {
		for name, into := range map[string]any{"map request": new(MapRequest), "map response": new(MapResponse), "register request": new(RegisterRequest)} {
			if err := json.Unmarshal([]byte(body), into); err == nil {
				t.Errorf("%s: %.40s… of %d bytes was accepted", name, body, len(body))
			}
		}
	}
}

// TestSmallBodiesStaySmall reads the bodies that grow most: lists of the shortest
// entries there are. What a request of a stranger costs must stay a small multiple
// of its own length.
func TestSmallBodiesStaySmall(t *testing.T) {
	const size, most = 256 << 10, 128 // bytes of body; bytes of memory for each of them
	list := func(entry string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(entry+",", size/(len(entry)+1)), ",") + "]"
	}
	for name, c := range map[string]struct {
		body string
		into func() any
	}{
		"endpoints":  {`{"Endpoints":` + list(`""`) + `}`, func() any { return new(MapRequest) }},
		"types":      {`{"EndpointTypes":` + list(`0`) + `}`, func() any { return new(MapRequest) }},
		"routes":     {`{"Hostinfo":{"RoutableIPs":` + list(`""`) + `}}`, func() any { return new(RegisterRequest) }},
		"services":   {`{"Hostinfo":{"Services":` + list(`{}`) + `}}`, func() any { return new(RegisterRequest) }},
		"ancestors":  {`{"Ancestors":` + list(`""`) + `}`, func() any { return new(TKASyncOfferRequest) }},
		"signatures": {`{"MissingAUMs":` + list(`""`) + `}`, func() any { return new(TKASyncSendRequest) }},
		"attempts":   {`{"RecordingAttempts":` + list(`{}`) + `}`, func() any { return new(SSHEventNotifyRequest) }},
	} {
		body, into := []byte(c.body), c.into()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := json.Unmarshal(body, into); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		runtime.ReadMemStats(&after)
		if cost := int(after.TotalAlloc-before.TotalAlloc) / len(body); cost > most {
			t.Errorf("%s: %d bytes of memory for each byte of the body, at most %d are fine", name, cost, most)
		} else {
			t.Logf("%s: %d bytes of memory for each byte of the body", name, cost)
		}
	}
}
