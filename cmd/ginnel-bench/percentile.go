package main

import (
	"slices"
	"time"
)

// latency summarises durations, in milliseconds.
type latency struct {
	Samples int     `json:"samples"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Max     float64 `json:"max_ms"`
}

// summarise sorts ds and reads it. No samples give zeros.
func summarise(ds []time.Duration) latency {
	if len(ds) == 0 {
		return latency{}
	}
	slices.Sort(ds)
	at := func(p float64) float64 { return ms(ds[int(p*float64(len(ds)-1)+0.5)]) }
	return latency{Samples: len(ds), P50: at(0.50), P99: at(0.99), Max: at(1)}
}

// ms is d in milliseconds.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// reservoir keeps an even sample of a stream of durations in bounded memory: when it
// is full it drops every second one and takes only every second from then on.
type reservoir struct {
	ds     []time.Duration
	stride int
	seen   int
}

// maxSamples bounds a reservoir.
const maxSamples = 1 << 16

// add takes d into account.
func (r *reservoir) add(d time.Duration) {
	if r.stride == 0 {
		r.stride = 1
	}
	r.seen++
	if r.seen%r.stride != 0 {
		return
	}
	if len(r.ds) == maxSamples {
		for i := range maxSamples / 2 {
			r.ds[i] = r.ds[2*i+1]
		}
		r.ds = r.ds[:maxSamples/2]
		r.stride *= 2
	}
	r.ds = append(r.ds, d)
}
