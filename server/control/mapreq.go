package control

import (
	"errors"
	"net/http"

	"github.com/ginnel/ginnel/server/maps"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// serveMap answers POST /machine/map in all its forms (wire document control,
// section 5.2).
func (s *Server) serveMap(w http.ResponseWriter, r *http.Request, conn *nodeConn) {
	var req control.MapRequest
	if !s.decode(w, r, conn, "map", &req) || !s.supported(w, "map", req.Version) {
		return
	}
	node := s.cfg.Tailnet.Snapshot().NodeByKey(req.NodeKey)
	opts := maps.Options{Compress: req.Compress == control.CompressZstd, OmitPeers: req.OmitPeers}
	if node == nil || node.Machine != conn.Peer() {
		// Whether the key belongs to another machine is nobody's business.
		if req.Kind() == control.MapStream {
			s.serveUnknown(w, r, conn, &req, opts)
		} else {
			s.refuse(w, "map", http.StatusNotFound, "node not found")
		}
		return
	}
	conn.admit()
	switch req.Kind() {
	case control.MapStream:
		s.serveStream(w, r, node, &req, opts)
	case control.MapLiteUpdate:
		if s.update(w, r, node, &req) {
			s.metrics.request("map-update", http.StatusOK)
			w.WriteHeader(http.StatusOK)
		}
	case control.MapOneShot:
		if s.update(w, r, node, &req) {
			s.sessions.end(node.ID)
			s.serveOnce(w, r, node, opts)
		}
	case control.MapRead:
		s.serveOnce(w, r, node, opts)
	}
}

// update stores what the request says of the node, or refuses the request and
// returns false.
func (s *Server) update(w http.ResponseWriter, r *http.Request, node *tailnet.Node, req *control.MapRequest) bool {
	if r.Context().Err() != nil {
		// A newer update may have overtaken this one.
		s.metrics.request("map-update", statusGone)
		return false
	}
	u := tailnet.NodeUpdate{
		Hostinfo: req.Hostinfo,
		Disco:    req.DiscoKey,
		Cap:      req.Version,
		LockHead: req.TKAHead,
	}
	for i, addr := range req.Endpoints {
		e := tailnet.Endpoint{Addr: addr}
		if i < len(req.EndpointTypes) {
			e.Type = req.EndpointTypes[i]
		}
		u.Endpoints = append(u.Endpoints, e)
	}
	_, err := s.cfg.Tailnet.UpdateNode(r.Context(), node.ID, u)
	switch {
	case err == nil:
		return true
	case r.Context().Err() != nil:
		s.metrics.request("map-update", statusGone)
	case errors.Is(err, tailnet.ErrNodeUnknown):
		s.refuse(w, "map-update", http.StatusNotFound, "node not found")
	case errors.Is(err, tailnet.ErrTooLarge):
		s.refuse(w, "map-update", http.StatusRequestEntityTooLarge, err.Error())
	case errors.Is(err, tailnet.ErrClosed):
		s.refuse(w, "map-update", http.StatusServiceUnavailable, "the server is shutting down")
	default:
		s.log.Error("node update failed", "node", node.ID, "err", err)
		s.refuse(w, "map-update", http.StatusInternalServerError, "internal error")
	}
	return false
}

// serveOnce answers with one full map.
func (s *Server) serveOnce(w http.ResponseWriter, r *http.Request, node *tailnet.Node, opts maps.Options) {
	release, ok := s.acquireBulk(r.Context())
	if !ok {
		s.metrics.request("map-once", statusGone)
		return
	}
	defer release()
	frame, err := s.cfg.Maps.Full(r.Context(), node.ID, opts)
	switch {
	case err == nil:
	case errors.Is(err, maps.ErrNoNode):
		s.refuse(w, "map-once", http.StatusNotFound, "node not found")
		return
	case r.Context().Err() != nil:
		s.metrics.request("map-once", statusGone)
		return
	default:
		s.refuse(w, "map-once", http.StatusServiceUnavailable, "the server is shutting down")
		return
	}
	s.metrics.request("map-once", http.StatusOK)
	fw := s.newFrameWriter(w)
	defer fw.close()
	fw.write(frame)
}
