package control

import "time"

// User is the owner of nodes, in a register answer (section 6.2).
type User struct {
	ID            UserID
	DisplayName   string
	ProfilePicURL string    `json:",omitempty"`
	Created       time.Time `json:",omitzero"`
}

// Login is the account by which a user signed in.
type Login struct {
	ID            LoginID // ignored by nodes
	Provider      string  // such as "google", "github" or "oidc"
	LoginName     string  // like an e-mail address
	DisplayName   string
	ProfilePicURL string `json:",omitempty"`
}

// UserProfile is what a node may show of a user. Without the profile of a peer's
// user the node cannot say who the peer is.
type UserProfile struct {
	ID            UserID
	LoginName     string // like an e-mail address; never empty for the node's own user
	DisplayName   string
	ProfilePicURL string   `json:",omitempty"`
	Groups        []string `json:",omitempty"` // sorted
}
