<?php
function decrypted(string $body, string $secret): string
{
    $data = base64_decode(json_decode($body)->data);
    [$iv, $rest] = [substr($data, 0, 16), substr($data, 16)];
    $inner = base64_decode($rest, true);
    $cipher = $inner !== false && $inner !== '' && strlen($inner) % 16 === 0 ? $inner : $rest;
    return openssl_decrypt($cipher, 'AES-256-CBC', $secret, OPENSSL_RAW_DATA, $iv);
}
