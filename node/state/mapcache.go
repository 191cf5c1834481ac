package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// CachedMap is a network map on disk, for a start without the server.
type CachedMap struct {
	NodeKey key.NodePublic // whose map it is
	Saved   time.Time
	Map     *control.MapResponse // a full first frame
}

// mapPath returns where the map of a profile is kept.
func (s *Store) mapPath(profileID string) string {
	return filepath.Join(filepath.Dir(s.path), "profile-data", profileID, "netmap.json")
}

// SaveMap replaces the cached map of the profile. A memory store keeps none.
func (s *Store) SaveMap(profileID string, m *CachedMap) error {
	if s.Ephemeral() || profileID == "" {
		return nil
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encoding network map: %w", err)
	}
	path := s.mapPath(profileID)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("network map cache: %w", err)
	}
	if err := writeFileAtomic(path, data); err != nil {
		return fmt.Errorf("network map cache: %w", err)
	}
	return nil
}

// LoadMap returns the cached map of the profile if it is one of nodeKey, and nil
// when there is none. What cannot be read is an error, after which the node does
// well to go on without: the server has the map.
func (s *Store) LoadMap(profileID string, nodeKey key.NodePublic) (*CachedMap, error) {
	if s.Ephemeral() || profileID == "" {
		return nil, nil
	}
	path := s.mapPath(profileID)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("network map cache: %w", err)
	}
	var m CachedMap
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("network map cache %s: %w", path, err)
	}
	if m.Map == nil || m.Map.Node == nil || m.NodeKey != nodeKey || m.Map.Node.Key != nodeKey {
		return nil, nil
	}
	return &m, nil
}

// DeleteMap removes the cached map of the profile.
func (s *Store) DeleteMap(profileID string) error {
	if s.Ephemeral() || profileID == "" {
		return nil
	}
	err := os.RemoveAll(filepath.Dir(s.mapPath(profileID)))
	if err != nil {
		return fmt.Errorf("network map cache: %w", err)
	}
	return nil
}
