package bundle

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/moby/sys/user"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"skiff.dev/skiff/engine"
)

// User is who a process runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32
	Home     string
}

// home is the user's directory; "/" for one without an account, as runc has it.
func (u User) home() string {
	if u.Home == "" {
		return "/"
	}
	return u.Home
}

func (u User) oci() specs.User {
	// Its own group is among the others too: a process that gives up the one must not
	// gain by it (CVE-2022-36109).
	groups := u.Groups
	if !slices.Contains(groups, u.GID) {
		groups = append([]uint32{u.GID}, groups...)
	}
	return specs.User{UID: u.UID, GID: u.GID, AdditionalGids: groups}
}

// LookupUser understands "user", "uid", "user:group" and the like by the root
// filesystem's /etc/passwd and /etc/group, which may be empty. groups are added.
func LookupUser(name string, groups []int64, passwd, group []byte) (User, error) {
	u, err := user.GetExecUser(name, &user.ExecUser{}, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return User{}, fmt.Errorf("%w: user %q: %w", engine.ErrInvalid, name, err)
	}
	out := User{UID: uint32(u.Uid), GID: uint32(u.Gid), Home: u.Home}
	for _, g := range u.Sgids {
		out.Groups = append(out.Groups, uint32(g))
	}
	for _, g := range groups {
		if g < 0 || g > 1<<31-1 {
			return User{}, fmt.Errorf("%w: group %d", engine.ErrInvalid, g)
		}
		if !slices.Contains(out.Groups, uint32(g)) {
			out.Groups = append(out.Groups, uint32(g))
		}
	}
	return out, nil
}

// AddGroups adds groups by name or number to u.
func AddGroups(u User, names []string, group []byte) (User, error) {
	if len(names) == 0 {
		return u, nil
	}
	gids, err := user.GetAdditionalGroups(names, bytes.NewReader(group))
	if err != nil {
		return u, fmt.Errorf("%w: %w", engine.ErrInvalid, err)
	}
	for _, g := range gids {
		if !slices.Contains(u.Groups, uint32(g)) {
			u.Groups = append(u.Groups, uint32(g))
		}
	}
	return u, nil
}
