package imagestore

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/containerd/errdefs"

	"skiff.dev/skiff/engine"
)

// hubIndex is where Docker's own registry is searched.
const hubIndex = "index.docker.io"

// Search asks the index of a registry for repositories, by the first version of the
// protocol, the only one that has a search.
func (s *Store) Search(ctx context.Context, index, term string, limit int, o engine.PullOptions) ([]engine.SearchResult, error) {
	host, plain := index, o.Insecure || insecure(ctx, s.registryConfig(), index)
	if index == dockerHub {
		host, plain = hubIndex, false
	}
	base := "https://" + host + "/v1/"
	client := s.client(o, plain)
	if index != dockerHub {
		err := ping(ctx, client, base)
		if err != nil && plain {
			http1 := "http://" + host + "/v1/"
			if perr := ping(ctx, client, http1); perr != nil {
				return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid registry endpoint %q. HTTPS attempt: %v. HTTP attempt: %v", http1, err, perr))
			}
			base, err = http1, nil
		}
		if err != nil {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid registry endpoint %s: %v", base, err))
		}
	}
	q := url.Values{"q": {term}, "n": {strconv.Itoa(limit)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"search?"+q.Encode(), nil)
	if err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	if o.Credentials != nil {
		user, secret, err := o.Credentials(host)
		if err != nil {
			return nil, err
		}
		if user != "" {
			req.SetBasicAuth(user, secret)
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("registry index: unexpected status code %d", resp.StatusCode)
	}
	var out struct{ Results []engine.SearchResult }
	if err := json.Unmarshal(body, &out); err != nil {
		return nil, fmt.Errorf("error decoding registry search results: %w", err)
	}
	return out.Results, nil
}

func ping(ctx context.Context, client *http.Client, base string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"_ping", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
