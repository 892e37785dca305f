<?php
// $headers: names in lower case. In a page: array_change_key_case(getallheaders()), and file_get_contents('php://input').
function verified(string $body, array $headers, string $secret): bool
{
    $key = base64_decode(substr($secret, strlen('whsec_')));
    $time = $headers['webhook-timestamp'] ?? '';
    $signed = ($headers['webhook-id'] ?? '') . ".$time.$body";
    $wanted = 'v1,' . base64_encode(hash_hmac('sha256', $signed, $key, true));
    $given = explode(' ', $headers['webhook-signature'] ?? '');
    $fits = array_filter($given, fn (string $one): bool => hash_equals($wanted, $one));
    return $fits !== [] && abs(time() - (int) $time) <= 300;
}
