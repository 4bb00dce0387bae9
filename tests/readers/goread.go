// Prints each member of the tar on standard input as a line of JSON; bytes are hexadecimal.
package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"log"
	"os"
)

func main() {
	archive, lines := tar.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		hash, records := sha256.New(), map[string]string{}
		if header.Size < 1<<30 {
			if _, err := io.Copy(hash, archive); err != nil {
				log.Fatal(err)
			}
		}
		for key, value := range header.PAXRecords {
			records[hex.EncodeToString([]byte(key))] = hex.EncodeToString([]byte(value))
		}
		lines.Encode(map[string]any{
			"kind": string(rune(header.Typeflag)), "mode": header.Mode, "uid": header.Uid, "gid": header.Gid,
			"size": header.Size, "mtime": header.ModTime.Unix(), "nsec": header.ModTime.Nanosecond(),
			"name": hex.EncodeToString([]byte(header.Name)), "link": hex.EncodeToString([]byte(header.Linkname)),
			"major": header.Devmajor, "minor": header.Devminor,
			"sha256": hex.EncodeToString(hash.Sum(nil)), "records": records,
		})
	}
}
