package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"time"
)

// webhook serves admission webhooks under a certificate for name, which it makes
// itself and prints as a line that a webhook configuration takes as caBundle. /mutate
// gives pods a label, /validate refuses those that call themselves forbidden.
func webhook(port, name string) {
	cert, bundle := selfSigned(name)
	fmt.Println(bundle)
	mux := http.NewServeMux()
	mux.HandleFunc("/mutate", answer(func(labels map[string]string, out map[string]any) {
		patch := `[{"op":"add","path":"/metadata/labels/mutated","value":"by-webhook"}]`
		if labels == nil {
			patch = `[{"op":"add","path":"/metadata/labels","value":{"mutated":"by-webhook"}}]`
		}
		out["patchType"], out["patch"] = "JSONPatch", []byte(patch)
	}))
	mux.HandleFunc("/validate", answer(func(labels map[string]string, out map[string]any) {
		if labels["forbidden"] != "" {
			out["allowed"], out["status"] = false, map[string]any{"message": "pods may not be forbidden", "code": 403}
		}
		out["warnings"] = []string{"the webhook looked at a pod"}
	}))
	s := &http.Server{Addr: ":" + port, Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}
	log.Fatal(s.ListenAndServeTLS("", ""))
}

func answer(f func(labels map[string]string, out map[string]any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Request    struct {
				UID    string `json:"uid"`
				Object struct {
					Metadata struct {
						Labels map[string]string `json:"labels"`
					} `json:"metadata"`
				} `json:"object"`
			} `json:"request"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out := map[string]any{"uid": in.Request.UID, "allowed": true}
		f(in.Request.Object.Metadata.Labels, out)
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(map[string]any{"apiVersion": in.APIVersion, "kind": in.Kind, "response": out}); err != nil {
			log.Print(err)
		}
	}
}

func selfSigned(name string) (tls.Certificate, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, base64.StdEncoding.EncodeToString(bundle)
}
