package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"skiff.dev/skiff/engine"
)

// probeResult of one try.
type probeResult int

const (
	probeSuccess probeResult = iota
	probeFailure
	probeUnknown // the try itself failed; it counts for nothing
)

const (
	probeAgent  = "kube-probe/1.36"
	probeOutput = 10 << 10
)

// probeTransport keeps no connections: every probe asks anew, and certificates of
// pods are not verified, as the kubelet's.
var probeTransport http.RoundTripper = &http.Transport{
	TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	DisableKeepAlives: true, Proxy: nil,
}

// probeHandler tries once. It returns the output that the event shows.
func (w *worker) probeHandler(ctx context.Context, p *v1.Probe, c *v1.Container, id, podIP string) (probeResult, string, error) {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case p.Exec != nil:
		return w.probeExec(ctx, p.Exec.Command, id, timeout)
	case p.HTTPGet != nil:
		req, err := httpRequest(ctx, p.HTTPGet, c, podIP, probeAgent)
		if err != nil {
			return probeUnknown, "", err
		}
		return probeHTTP(req)
	case p.TCPSocket != nil:
		port, err := portOf(p.TCPSocket.Port, c)
		if err != nil {
			return probeUnknown, "", err
		}
		host := p.TCPSocket.Host
		if host == "" {
			host = podIP
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return probeFailure, err.Error(), nil
		}
		conn.Close()
		return probeSuccess, "", nil
	case p.GRPC != nil:
		service := ""
		if p.GRPC.Service != nil {
			service = *p.GRPC.Service
		}
		return probeGRPC(ctx, net.JoinHostPort(podIP, strconv.Itoa(int(p.GRPC.Port))), service, timeout)
	}
	return probeUnknown, "", errors.New("missing probe handler")
}

func (w *worker) probeExec(ctx context.Context, args []string, id string, timeout time.Duration) (probeResult, string, error) {
	out := &limited{n: probeOutput}
	code, err := w.n.o.Engine.Exec(ctx, id, engine.ExecSpec{Args: args}, engine.Streams{Stdout: out, Stderr: out})
	var se *engine.StartError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return probeFailure, fmt.Sprintf("command timed out: %q timed out after %s", strings.Join(args, " "), timeout), nil
	case errors.As(err, &se):
		return probeFailure, se.Message, nil
	case err != nil:
		return probeUnknown, "", err
	case code != 0:
		return probeFailure, out.String(), nil
	}
	return probeSuccess, out.String(), nil
}

func probeHTTP(req *http.Request) (probeResult, string, error) {
	// Redirects within the host are followed, others count as success with a warning
	// (https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/).
	client := &http.Client{Transport: probeTransport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if r.URL.Hostname() != via[0].URL.Hostname() {
			return http.ErrUseLastResponse
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		return probeFailure, err.Error(), nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, probeOutput))
	if err != nil {
		return probeFailure, err.Error(), nil
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 400 {
		return probeSuccess, string(body), nil
	}
	return probeFailure, fmt.Sprintf("HTTP probe failed with statuscode: %d", resp.StatusCode), nil
}

func probeGRPC(ctx context.Context, addr, service string, timeout time.Duration) (probeResult, string, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithUserAgent(probeAgent),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableServiceConfig(), grpc.WithNoProxy(),
		// A server that begins to listen within the timeout is reached: the usual
		// pause after a refused connection, 1 s, would be the whole of it.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, MaxDelay: time.Second},
			MinConnectTimeout: timeout,
		}))
	if err != nil {
		return probeUnknown, "", err
	}
	defer conn.Close()
	resp, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
	if err != nil {
		switch status.Code(err) {
		case codes.Unimplemented:
			return probeFailure, fmt.Sprintf("error: this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", status.Convert(err).Message()), nil
		case codes.DeadlineExceeded:
			return probeFailure, fmt.Sprintf("timeout: health rpc did not complete within %v", timeout), nil
		}
		return probeFailure, fmt.Sprintf("error: health rpc probe failed: %v", err), nil
	}
	if resp.Status != healthpb.HealthCheckResponse_SERVING {
		return probeFailure, fmt.Sprintf("service unhealthy (responded with %q)", resp.Status), nil
	}
	return probeSuccess, "service healthy", nil
}
