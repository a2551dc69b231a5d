// Package webhook asks servers outside who someone is (TokenReview) and what they may
// do (SubjectAccessReview), remembers the answers for a while, and says what follows
// when no answer comes. Servers are named by kubeconfig files, as kube-apiserver's
// flags take them. What they answer is bounded in size and time and not trusted to be
// well formed.
package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	maxAnswer      = 1 << 20
	defaultTimeout = 30 * time.Second
)

// Caller posts reviews to one server.
type Caller struct {
	Client *http.Client
	URL    string
	// Timeout bounds one review with all its tries; 0 means 30s.
	Timeout time.Duration
	// Tries is how often a review is sent where the server fails; 0 means 5. Pause is
	// waited before the second, and half as long again before each further one.
	Tries int
	Pause time.Duration
}

// FromKubeconfig reads where a server is, how it proves itself and how we do.
func FromKubeconfig(path string) (*Caller, error) {
	raw, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.NewDefaultClientConfig(*raw, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, err
	}
	return FromConfig(config)
}

// FromConfig is FromKubeconfig for a configuration that has been read.
func FromConfig(config *rest.Config) (*Caller, error) {
	if config.Host == "" {
		return nil, errors.New("clusters[0].cluster.server is empty: give the URL of the webhook")
	}
	config = rest.CopyConfig(config)
	config.QPS, config.Timeout = -1, 0
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Caller{Client: client, URL: config.Host, Pause: 500 * time.Millisecond}, nil
}

// Review posts in and decodes the answer into out, both as JSON. It tries again where
// another try may help: the connection failed, or the server answered 429 or 5xx.
func (c *Caller) Review(ctx context.Context, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	timeout, tries := c.Timeout, c.Tries
	if timeout == 0 {
		timeout = defaultTimeout
	}
	if tries == 0 {
		tries = 5
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause := c.Pause
	for try := 1; ; try++ {
		again, err := c.post(ctx, body, out)
		if err == nil || !again || try == tries {
			return err
		}
		timer := time.NewTimer(pause + rand.N(pause/5+1))
		select {
		case <-timer.C:
			pause += pause / 2
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

func (c *Caller) post(ctx context.Context, body []byte, out any) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	res, err := c.Client.Do(req)
	if err != nil {
		return ctx.Err() == nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return true, fmt.Errorf("webhook: read the answer: %w", err)
	case res.StatusCode == http.StatusTooManyRequests || res.StatusCode >= 500:
		return true, fmt.Errorf("webhook: the server answered %s", res.Status)
	case res.StatusCode < 200 || res.StatusCode > 299:
		return false, fmt.Errorf("webhook: the server answered %s", res.Status)
	case len(answer) > maxAnswer:
		return false, fmt.Errorf("webhook: the answer has more than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return false, fmt.Errorf("webhook: the answer cannot be read: %w", err)
	}
	return false, nil
}
