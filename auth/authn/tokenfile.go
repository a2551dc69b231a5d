package authn

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"skiff.dev/skiff/auth"
)

// TokenFile are the tokens of a file (--token-auth-file): lines of token, user, uid
// and, optionally, groups in one quoted column.
type TokenFile map[string]*auth.User

// ReadTokenFile reads such a file. Where a token stands twice, the last line counts
// (token/tokenfile, NewCSV).
func ReadTokenFile(r io.Reader) (TokenFile, error) {
	out := TokenFile{}
	c := csv.NewReader(r)
	c.FieldsPerRecord = -1
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		line, _ := c.FieldPos(0)
		if len(record) < 3 {
			return nil, fmt.Errorf("line %d has %d columns: a line needs at least 3 (token, user name, user uid)", line, len(record))
		}
		if record[0] == "" {
			return nil, fmt.Errorf("line %d has an empty token", line)
		}
		u := &auth.User{Name: record[1], UID: record[2]}
		if len(record) >= 4 && record[3] != "" {
			u.Groups = strings.Split(record[3], ",")
		}
		out[record[0]] = u
	}
}

// AuthenticatePlainToken implements PlainTokens.
func (f TokenFile) AuthenticatePlainToken(token string) (*auth.User, bool, error) {
	u, ok := f[token]
	return u, ok, nil
}
