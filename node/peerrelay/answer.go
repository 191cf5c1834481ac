package peerrelay

import (
	"errors"
	"fmt"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// Errors of Answer.
var (
	// ErrNotAdmitted says that the requester may not use this relay.
	ErrNotAdmitted = errors.New("peer relay: the requester may not use this relay")
	// ErrNotClient says that the requester asked for a session of others.
	ErrNotClient = errors.New("peer relay: the requester is none of the two clients")
)

// Allocator makes sessions, as Table does.
type Allocator interface {
	Allocate(now time.Time, a, b key.DiscoPublic) (disco.RelayEndpoint, error)
}

// Answer returns the response to an allocation request that came through a relay region,
// opened with the requester's disco key. admitted says whether the node that has this key
// holds the capability to use this relay (wire document paths, section 5). With an error
// nothing is to be sent: clients ask again after some seconds.
func Answer(now time.Time, table Allocator, requester key.DiscoPublic, request *disco.AllocateRequest,
	admitted func(key.DiscoPublic) bool) (disco.AllocateResponse, error) {
	a, b := request.Clients[0], request.Clients[1]
	if requester != a && requester != b || requester.IsZero() {
		return disco.AllocateResponse{}, ErrNotClient
	}
	if !admitted(requester) {
		return disco.AllocateResponse{}, fmt.Errorf("%w: %s", ErrNotAdmitted, requester.ShortString())
	}
	endpoint, err := table.Allocate(now, a, b)
	if err != nil {
		return disco.AllocateResponse{}, err
	}
	return disco.AllocateResponse{Generation: request.Generation, Endpoint: endpoint}, nil
}
