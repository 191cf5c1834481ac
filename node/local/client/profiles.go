package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/ginnel/ginnel/node/local/api"
)

// Profiles returns the stored profiles, the oldest first.
func (c *Client) Profiles(ctx context.Context) ([]api.LoginProfile, error) {
	list, err := call[[]api.LoginProfile](ctx, c, http.MethodGet, "profiles/", nil)
	if err != nil {
		return nil, err
	}
	return *list, nil
}

// CurrentProfile returns the profile in use. Its ID is empty while nobody has logged in
// with it.
func (c *Client) CurrentProfile(ctx context.Context) (*api.LoginProfile, error) {
	return call[api.LoginProfile](ctx, c, http.MethodGet, "profiles/current", nil)
}

// NewProfile leaves the profile in use as it is and goes on with a blank one.
func (c *Client) NewProfile(ctx context.Context) error {
	_, err := c.Do(ctx, http.MethodPut, "profiles/", nil, nil)
	return err
}

// SwitchProfile leaves the profile in use as it is and goes on with another.
func (c *Client) SwitchProfile(ctx context.Context, id string) error {
	_, err := c.Post(ctx, "profiles/"+url.PathEscape(id), nil)
	return err
}

// DeleteProfile forgets a profile; its server is not told.
func (c *Client) DeleteProfile(ctx context.Context, id string) error {
	_, err := c.Do(ctx, http.MethodDelete, "profiles/"+url.PathEscape(id), nil, nil)
	return err
}
