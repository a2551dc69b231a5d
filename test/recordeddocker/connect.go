package recordeddocker

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Engine is where an engine listens.
type Engine struct {
	// Listen makes the listener of the registry that a file asks for, where the
	// engine can reach it; nil is net.Listen.
	Listen func(network, address string) (net.Listener, error)

	network, address string
	client           *http.Client
}

// Dial makes an Engine of an address: unix:///path, tcp://host:port or
// http://host:port. Nothing is connected yet.
func Dial(address string) (*Engine, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	e := &Engine{network: "tcp", address: u.Host}
	if u.Scheme == "unix" {
		e.network, e.address = "unix", u.Path
	}
	e.client = &http.Client{
		Transport: &http.Transport{
			DisableCompression: true,
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return e.dial(ctx) },
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return e, nil
}

func (e *Engine) dial(ctx context.Context) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, e.network, e.address)
}

// request makes a request whose path goes out as it is.
func (e *Engine) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://docker/", body)
	if err != nil {
		return nil, err
	}
	req.URL.Opaque = path
	req.Header.Set("User-Agent", "")
	return req, nil
}

// do sends a request and returns when the headers of the answer are there. One that
// asks for an upgrade gets a connection of its own; after 101, stdin is written to
// it and its writing side closed.
func (e *Engine) do(req *http.Request, stdin *string) (*http.Response, error) {
	if req.Header.Get("Upgrade") == "" {
		return e.client.Do(req)
	}
	conn, err := e.dial(req.Context())
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(req.Context(), func() { conn.Close() })
	fail := func(err error) (*http.Response, error) {
		stop()
		conn.Close()
		return nil, err
	}
	if err := req.Write(conn); err != nil {
		return fail(err)
	}
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, req)
	if err != nil {
		return fail(err)
	}
	var body io.Reader = res.Body
	if res.StatusCode == http.StatusSwitchingProtocols {
		body = in
		if stdin != nil {
			if _, err := io.WriteString(conn, *stdin); err != nil {
				return fail(err)
			}
			if half, ok := conn.(interface{ CloseWrite() error }); ok {
				if err := half.CloseWrite(); err != nil {
					return fail(err)
				}
			}
		}
	}
	res.Body = &upgraded{Reader: body, close: func() error {
		stop()
		return conn.Close()
	}}
	return res, nil
}

// upgraded is the body of an answer on a connection of its own.
type upgraded struct {
	io.Reader
	close func() error
}

func (u *upgraded) Close() error { return u.close() }

// root asks for the engine's data root, "" if it tells none.
func (e *Engine) root(ctx context.Context) (string, error) {
	req, err := e.request(ctx, http.MethodGet, "/info", nil)
	if err != nil {
		return "", err
	}
	res, err := e.do(req, nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	docs, _ := documents(raw)
	if len(docs) == 0 {
		return "", nil
	}
	info, _ := docs[0].(map[string]any)
	root, _ := info["DockerRootDir"].(string)
	return strings.TrimSuffix(root, "/"), nil
}
